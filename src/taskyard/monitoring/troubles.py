"""Known errors as sentences: what is wrong with the database or the settings, and what to do."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction

from taskyard.errors import BrokerUnreachable, PublishFailed, TaskyardError
from taskyard.settings import get_settings


class NotMigrated(TaskyardError):
    """Tables are missing or old."""

    def __init__(self, alias: str, missing: Sequence[str]) -> None:
        self.alias, self.missing = alias, tuple(missing)
        super().__init__(
            f"The database {place(alias)} lacks Taskyard's tables, or has old ones (not applied: "
            f"{', '.join(missing)}). Run: manage.py migrate"
        )


#: Errors that :func:`explain` may have a sentence for.
KNOWN = (TaskyardError, ImproperlyConfigured, DatabaseError, InterfaceError)


class Trouble(NamedTuple):
    """A known error in words; the second line, where there is one, says what to do."""

    says: str
    #: Whether the database or the broker cannot be reached: nothing that this process could mend.
    is_unreachable: bool = False


def explain(error: BaseException) -> Trouble | None:
    """The sentence of a known error; None for one that is a fault of the program."""
    if isinstance(error, (PublishFailed, BrokerUnreachable)):
        return Trouble(str(error), is_unreachable=True)
    if isinstance(error, (TaskyardError, ImproperlyConfigured)):
        return Trouble(str(error))
    if isinstance(error, (DatabaseError, InterfaceError)):
        return _explain_database(error)
    return None


def _explain_database(error: BaseException) -> Trouble | None:
    alias = get_settings().database
    try:
        connections[alias].close()
        connections[alias].ensure_connection()
        missing = unapplied_migrations(alias)
    except (DatabaseError, InterfaceError) as reason:
        says = f"The database {place(alias)} cannot be reached: {_first_line(reason)}"
        return Trouble(f"{says}\nStart it, or correct DATABASES[{alias!r}] in the settings.", is_unreachable=True)
    if missing:
        return Trouble(str(NotMigrated(alias, missing)))
    if isinstance(error, (OperationalError, InterfaceError)):
        return Trouble(f"The database {place(alias)} gave up: {_first_line(error)}\nTry again.", is_unreachable=True)
    return None


def unapplied_migrations(alias: str) -> list[str]:
    """Names of Taskyard's migrations that this database lacks: files against rows, so that no app need be loaded."""
    package = getattr(django_settings, "MIGRATION_MODULES", {}).get("taskyard", "taskyard.migrations")
    if package is None:
        return []
    names = {one.name for one in pkgutil.iter_modules(import_module(package).__path__) if one.name[0] not in "_~"}
    return sorted(names - _applied(alias))


def _applied(alias: str) -> set[str]:
    connection = connections[alias]
    try:
        # A savepoint, for whoever asks within a transaction of a database that has never been migrated.
        with transaction.atomic(using=alias), connection.cursor() as cursor:
            cursor.execute("SELECT name FROM django_migrations WHERE app = 'taskyard'")
            return {row[0] for row in cursor.fetchall()}
    except DatabaseError:
        if "django_migrations" in connection.introspection.table_names():
            raise
        return set()


def place(alias: str) -> str:
    """Which database this is, without its password."""
    values = connections[alias].settings_dict
    host = (
        f" on {values['HOST']}{':' + str(values['PORT']) if values.get('PORT') else ''}" if values.get("HOST") else ""
    )
    return f"{alias!r} ({connections[alias].vendor} {values['NAME']}{host})"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
