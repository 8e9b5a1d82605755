"""What known errors look like to the person at the terminal: one sentence and an exit code, never a traceback."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.migrations.executor import MigrationExecutor

from taskyard.errors import BrokerUnreachable, PublishFailed, TaskyardError
from taskyard.settings import get_settings


class Exit(enum.IntEnum):
    """The exit codes of every command."""

    OK = 0
    #: Something is wrong, or nothing matched.
    WRONG = 1
    #: The command line cannot be meant like this.
    USAGE = 2
    #: The database or the broker cannot be reached.
    UNREACHABLE = 3


class NotMigrated(TaskyardError):
    """Tables are missing or old."""

    def __init__(self, alias: str, missing: Sequence[str]) -> None:
        self.alias, self.missing = alias, tuple(missing)
        super().__init__(
            f"The database {place(alias)} lacks Taskyard's tables, or has old ones (not applied: "
            f"{', '.join(missing)}). Run: manage.py migrate"
        )


class UsageError(TaskyardError):
    """A command line that argparse accepts and that cannot be meant."""


#: Errors that :func:`explain` may have a sentence for.
KNOWN = (TaskyardError, ImproperlyConfigured, DatabaseError, InterfaceError)


def explain(error: BaseException) -> tuple[Exit, str] | None:
    """Exit code and sentence of a known error; None for one that is a fault of the program."""
    if isinstance(error, UsageError):
        return Exit.USAGE, str(error)
    if isinstance(error, (PublishFailed, BrokerUnreachable)):
        return Exit.UNREACHABLE, str(error)
    if isinstance(error, (TaskyardError, ImproperlyConfigured)):
        return Exit.WRONG, str(error)
    if isinstance(error, (DatabaseError, InterfaceError)):
        return _explain_database(error)
    return None


def _explain_database(error: BaseException) -> tuple[Exit, str] | None:
    alias = get_settings().database
    try:
        connections[alias].close()
        connections[alias].ensure_connection()
        missing = unapplied_migrations(alias)
    except (DatabaseError, InterfaceError) as reason:
        return Exit.UNREACHABLE, (
            f"The database {place(alias)} cannot be reached: {_first_line(reason)}\n"
            f"Start it, or correct DATABASES[{alias!r}] in the settings."
        )
    if missing:
        return Exit.WRONG, str(NotMigrated(alias, missing))
    if isinstance(error, (OperationalError, InterfaceError)):
        return Exit.UNREACHABLE, f"The database {place(alias)} gave up: {_first_line(error)}\nTry again."
    return None


def unapplied_migrations(alias: str) -> list[str]:
    """Names of Taskyard's migrations that this database lacks."""
    executor = MigrationExecutor(connections[alias])
    nodes = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "taskyard"]
    return [migration.name for migration, _ in executor.migration_plan(nodes) if migration.app_label == "taskyard"]


def check_migrated() -> None:
    """Before a process starts: raises :class:`NotMigrated`, or the database's own error if it does not answer."""
    alias = get_settings().database
    missing = unapplied_migrations(alias)
    connections[alias].close()
    if missing:
        raise NotMigrated(alias, missing)


def place(alias: str) -> str:
    """Which database this is, without its password."""
    values = connections[alias].settings_dict
    host = (
        f" on {values['HOST']}{':' + str(values['PORT']) if values.get('PORT') else ''}" if values.get("HOST") else ""
    )
    return f"{alias!r} ({connections[alias].vendor} {values['NAME']}{host})"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
