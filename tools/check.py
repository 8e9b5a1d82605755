"""Everything that reads the code without running it: a line per check, and the output of those that fail."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = [sys.executable, "-m"]

CHECKS = {
    "lint": [*PYTHON, "ruff", "check", "."],
    "format": [*PYTHON, "ruff", "format", "--check", "."],
    "types": [*PYTHON, "mypy"],
    "import contract": [str(Path(sys.executable).parent / "lint-imports")],
    "size tail": [sys.executable, "tools/size_tail.py"],
    "migrations": [*PYTHON, "django", "makemigrations", "--check", "--dry-run", "--settings", "tests.settings"],
}


def environment() -> dict[str, str]:
    """The checks read settings but need no server, so they get the database that is a file."""
    return {**os.environ, "TASKYARD_TEST_DB": "sqlite", "PYTHONPATH": str(ROOT)}


def run(name: str, command: list[str]) -> bool:
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    verdict = "ok" if done.returncode == 0 else "FAILED"
    print(f"  check {name:<18} {verdict:<7} {time.monotonic() - started:5.1f} s", flush=True)
    if done.returncode:
        print((done.stdout + done.stderr).rstrip(), flush=True)
    return done.returncode == 0


def main(names: list[str]) -> int:
    unknown = set(names) - set(CHECKS)
    if unknown:
        print(f"Unknown check {', '.join(sorted(unknown))}; there are: {', '.join(CHECKS)}.", file=sys.stderr)
        return 2
    chosen = names or list(CHECKS)
    failed = [name for name in chosen if not run(name, CHECKS[name])]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
