"""System checks: what would go wrong later is said before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import connections

from taskyard.errors import ConfigurationError
from taskyard.settings import get_settings

TAG = "taskyard"


def register() -> None:
    """Called by ``TaskyardConfig.ready()``."""
    checks.register(check_settings, TAG)
    checks.register(check_content_types, TAG)
    checks.register(check_sqlite_transactions, TAG)
    checks.register(check_sqlite_journal, TAG, checks.Tags.database)


def check_settings(app_configs: object, **_: object) -> list[checks.CheckMessage]:
    """E001: ``TASKYARD`` cannot be used; one message for each problem."""
    try:
        get_settings()
    except ConfigurationError as error:
        return [checks.Error(f"TASKYARD: {problem}", id="taskyard.E001") for problem in error.problems]
    return []


def check_content_types(app_configs: object, **_: object) -> list[checks.CheckMessage]:
    """E002: a pickle in a message runs any code; a worker that would accept one does not start."""
    from taskyard.celery import get_app
    from taskyard.celery.worker.quarantine import PICKLE

    try:
        accepted = PICKLE & set(get_app().conf.accept_content or ())
    except ConfigurationError:
        return []
    if not accepted:
        return []
    return [
        checks.Error(
            "Workers would accept pickle: who can write to the broker could run any code.",
            hint="Remove 'pickle' from CELERY_ACCEPT_CONTENT. Arguments and results are JSON.",
            id="taskyard.E002",
        )
    ]


def check_sqlite_transactions(app_configs: object, **_: object) -> list[checks.CheckMessage]:
    """W001: with SQLite's default mode a transaction that reads and then writes dies of "database is locked"."""
    alias = _sqlite_alias()
    if alias is None:
        return []
    options: dict[str, Any] = connections[alias].settings_dict.get("OPTIONS", {})
    if str(options.get("transaction_mode", "")).upper() in ("IMMEDIATE", "EXCLUSIVE"):
        return []
    return [
        checks.Warning(
            f"Jobs are kept in SQLite ({alias!r}) with transactions that take the write lock late: with a web process "
            "and a worker writing, some of them fail at once with 'database is locked'.",
            hint=f"DATABASES[{alias!r}]['OPTIONS']['transaction_mode'] = 'IMMEDIATE'",
            id="taskyard.W001",
        )
    ]


def check_sqlite_journal(
    app_configs: object, databases: Sequence[str] | None = None, **_: object
) -> list[checks.CheckMessage]:
    """W002: without write-ahead logging a reader stops every writer."""
    alias = _sqlite_alias()
    if alias is None or alias not in (databases or ()):
        return []
    with connections[alias].cursor() as cursor:
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    if mode in ("wal", "memory"):
        return []
    return [
        checks.Warning(
            f"Jobs are kept in SQLite ({alias!r}) in journal mode {mode!r}: whoever reads stops whoever writes.",
            hint=f"DATABASES[{alias!r}]['OPTIONS']['init_command'] = 'PRAGMA journal_mode=WAL;'",
            id="taskyard.W002",
        )
    ]


def _sqlite_alias() -> str | None:
    try:
        alias = get_settings().database
    except ConfigurationError:
        return None
    return alias if connections[alias].vendor == "sqlite" else None
