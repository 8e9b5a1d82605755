"""Targets that are files: replaced as a whole, and what a line of theirs calls."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings as django_settings

from taskyard.errors import DamagedTarget


def call(name: str) -> list[str]:
    """The words behind ``taskyard`` with which a clock calls for a schedule."""
    return ["schedules", "run", "--due=now", name]


def project_folder() -> str:
    """The settings' BASE_DIR, or empty."""
    return str(getattr(django_settings, "BASE_DIR", "") or "")


def read_text(path: Path) -> str:
    """What is in a file, whatever its encoding; empty if there is none."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise DamagedTarget(str(path), f"it cannot be read ({error.strerror})") from error


def replace_text(path: Path, *, before: str, after: str) -> None:
    """Replace a file as a whole, with its owner and permissions; a link stays one.

    Raises :class:`~taskyard.errors.DamagedTarget` if it no longer says ``before``: somebody is editing it.
    """
    path = path.resolve()
    try:
        with _beside(path) as temporary:
            temporary.write_bytes(after.encode("utf-8", "surrogateescape"))
            _like(temporary, path.stat() if path.exists() else None)
            if read_text(path) != before:
                raise DamagedTarget(str(path), "it was changed while it was being synced; run it again")
            temporary.replace(path)
    except OSError as error:
        raise DamagedTarget(str(path), f"it cannot be written ({error.strerror})") from error


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _like(path: Path, old: os.stat_result | None) -> None:
    """On the disk before it takes the other's place, and as readable as that was."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.chmod(old.st_mode & 0o7777 if old else 0o644)
    if old and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):
            os.chown(path, old.st_uid, old.st_gid)


def remove(path: Path) -> None:
    """Remove a file, if it is still there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DamagedTarget(str(path), f"it cannot be removed ({error.strerror})") from error


def files_in(folder: str, pattern: str) -> list[Path]:
    """Files of a folder, in order; raises :class:`~taskyard.errors.DamagedTarget` if there is no such folder."""
    if not Path(folder).is_dir():
        raise DamagedTarget(folder, "there is no such folder; make it first")
    return sorted(path for path in Path(folder).glob(pattern) if path.is_file())
