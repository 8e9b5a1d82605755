"""Finding the Django project a command is about, and how its other processes are started."""

from __future__ import annotations

import ast
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import django

from taskyard.entrypoint.failures import UsageError

_VARIABLE = "DJANGO_SETTINGS_MODULE"


def load(*, with_apps: bool = True) -> None:
    """Set Django up: settings from ``DJANGO_SETTINGS_MODULE``, else those the manage.py of this folder names.

    Raises :class:`UsageError` if there is neither. Without ``with_apps`` the settings can be read, and that is all.
    """
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    module = os.environ.get(_VARIABLE)
    if not module:
        module = settings_named_by(Path("manage.py"))
        if module is None:
            raise UsageError(
                f"No Django project here: {_VARIABLE} is not set and {Path.cwd()} has no manage.py that sets it.\n"
                f"Go to the project's folder, or set {_VARIABLE}. (`taskyard demo` needs neither.)"
            )
        os.environ[_VARIABLE] = module
    _check_importable(module)
    if with_apps:
        django.setup()


def _check_importable(module: str) -> None:
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise UsageError(f"There is no settings module {module!r} ({_VARIABLE}) to import from {Path.cwd()}.")


def settings_named_by(manage: Path) -> str | None:
    """The settings module a manage.py sets by default; the file is read, not run."""
    if not manage.is_file():
        return None
    for node in ast.walk(ast.parse(manage.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and len(node.args) == 2:
            name, value = node.args
            if isinstance(name, ast.Constant) and name.value == _VARIABLE and isinstance(value, ast.Constant):
                return str(value.value)
    return None


def _manage() -> str | None:
    started_by = Path(sys.argv[0])
    return str(started_by.resolve()) if started_by.name == "manage.py" and started_by.is_file() else None


def own_command(*arguments: str) -> list[str]:
    """The command line of another Taskyard process of this project."""
    manage = _manage()
    start = [manage, "taskyard"] if manage else ["-m", "taskyard"]
    return [sys.executable, *start, *arguments]


def django_command(*arguments: str) -> list[str]:
    """The command line of a Django command of this project."""
    manage = _manage()
    return [sys.executable, *([manage] if manage else ["-m", "django"]), *arguments]


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line of an installed program, in this interpreter."""
    return [sys.executable, "-m", module, *arguments]
