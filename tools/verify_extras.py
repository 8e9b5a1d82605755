"""Installing an extra must never change the user's Django: ask the resolver, once per extra and Django line."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DJANGO_LINES = ("5.2", "6.0", "6.1")
#: Development tools, never installed beside a user's project.
OURS = {"test", "check", "dev"}


def resolves(extra: str, line: str) -> str | None:
    """None when that extra and that Django go together, else the resolver's last words."""
    wanted = [f"{ROOT}[{extra}]", f"Django=={line}.*"]
    # Only wheels: a source package could not be looked into without building it.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--quiet"]
    done = subprocess.run(
        [*command, "--ignore-installed", *wanted], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip().splitlines()[-1]


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    failed = False
    lines = [line for line in DJANGO_LINES if line < "6" or sys.version_info >= (3, 12)]
    for extra in sorted(set(project["project"]["optional-dependencies"]) - OURS):
        for line in lines:
            problem = resolves(extra, line)
            failed = failed or problem is not None
            print(f"  taskyard[{extra}] with Django {line}: {problem or 'ok'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
