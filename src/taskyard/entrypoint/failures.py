"""What known errors look like to the person at the terminal: one sentence and an exit code, never a traceback."""

from __future__ import annotations

import enum

from django.db import connections

from taskyard.errors import NotAllowed, TaskyardError
from taskyard.monitoring import troubles
from taskyard.monitoring.troubles import KNOWN, NotMigrated, unapplied_migrations
from taskyard.settings import get_settings

__all__ = ["KNOWN", "Exit", "UsageError", "check_migrated", "explain"]


class Exit(enum.IntEnum):
    """The exit codes of every command."""

    OK = 0
    #: Something is wrong, or nothing matched.
    WRONG = 1
    #: The command line cannot be meant like this.
    USAGE = 2
    #: The database or the broker cannot be reached.
    UNREACHABLE = 3
    #: The user of ``--as`` may not do this.
    NOT_ALLOWED = 4


class UsageError(TaskyardError):
    """A command line that argparse accepts and that cannot be meant."""


def explain(error: BaseException) -> tuple[Exit, str] | None:
    """Exit code and sentence of a known error; None for one that is a fault of the program."""
    if isinstance(error, UsageError):
        return Exit.USAGE, str(error)
    if isinstance(error, NotAllowed):
        return Exit.NOT_ALLOWED, str(error)
    trouble = troubles.explain(error)
    return trouble and (Exit.UNREACHABLE if trouble.is_unreachable else Exit.WRONG, trouble.says)


def check_migrated() -> None:
    """Before a process starts: raises :class:`NotMigrated`, or the database's own error if it does not answer."""
    alias = get_settings().database
    missing = unapplied_migrations(alias)
    connections[alias].close()
    if missing:
        raise NotMigrated(alias, missing)
