"""The wheel holds what a user needs: built, installed into an empty environment, imported, asked for its commands."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("taskyard/__init__.py", "taskyard/py.typed", "taskyard/migrations/0001_initial.py")


def run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="taskyard-wheel-") as name:
        folder = Path(name)
        pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
        run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", name, str(ROOT), cwd=folder)
        (wheel,) = folder.glob("taskyard-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
            metadata = next(archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
        missing = [needed for needed in NEEDED if needed not in names]
        if not metadata.partition("\n\n")[2].strip():
            missing.append("a long description: readme in pyproject.toml")
        if missing:
            print(f"The wheel lacks {', '.join(missing)}.")
            return 1
        run(sys.executable, "-m", "venv", "fresh", cwd=folder)
        python = str(folder / "fresh" / "bin" / "python")
        run(python, *pip, "install", str(wheel), cwd=folder)
        run(python, "-m", "taskyard", "--help", cwd=folder)
    print("  the wheel installs and runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
