"""Installing an extra must never change the user's Django: ask the resolver, once per extra and Django line."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DJANGO_LINES = ("5.2", "6.0", "6.1")
#: Development tools, never installed beside a user's project.
OURS = {"test", "test-clouds", "check", "dev"}


def resolves(extra: str, line: str) -> str | None:
    """None when that extra and that Django go together, else what the resolver said."""
    wanted = [f"{ROOT}[{extra}]", f"Django=={line}.*"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--quiet"]
    done = subprocess.run(
        [*command, "--ignore-installed", *wanted], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else done.stderr or done.stdout or "pip said nothing"


def verdict(problem: str | None) -> str:
    if problem is None:
        return "ok"
    if "originates from a subprocess" in problem:
        return "NOT CHECKED: a package of it has no wheel for this machine and does not build here"
    return "FAILED: " + " ".join(line for line in problem.splitlines() if "conflict" in line.lower() or "ERROR" in line)


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    failed = False
    lines = [line for line in DJANGO_LINES if line < "6" or sys.version_info >= (3, 12)]
    for extra in sorted(set(project["project"]["optional-dependencies"]) - OURS):
        for line in lines:
            says = verdict(resolves(extra, line))
            failed = failed or says.startswith("FAILED")
            print(f"  taskyard[{extra}] with Django {line}: {says}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
