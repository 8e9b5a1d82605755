"""Whether SQLite is set up for several writers, and shared by one host alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from django.core import checks
from django.db import OperationalError, connections
from django.utils import timezone

from taskyard.checks.report import Found, as_djangos
from taskyard.runtime.models import Worker
from taskyard.settings import get_settings


def check_transactions() -> Iterator[Found]:
    """W001: with SQLite's default mode a transaction that reads and then writes dies of "database is locked"."""
    alias = get_settings().database
    if connections[alias].vendor != "sqlite":
        return
    options: dict[str, Any] = connections[alias].settings_dict.get("OPTIONS", {})
    if str(options.get("transaction_mode", "")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield Found(
            "W001",
            f"Jobs are kept in SQLite ({alias!r}) with transactions that take the write lock late: with a web process "
            "and a worker writing, some of them fail at once with 'database is locked'.",
            f"DATABASES[{alias!r}]['OPTIONS']['transaction_mode'] = 'IMMEDIATE'",
        )


def check_database(
    app_configs: object = None, databases: Sequence[str] | None = None, **_: object
) -> list[checks.CheckMessage]:
    """W002 and W018, which ask the database: Django runs them with ``check --database`` and before ``migrate``."""
    try:
        return as_djangos(lambda: _ask(databases or ()))()
    except OperationalError:
        # It cannot be opened: who needs it says so.
        return []


def _ask(databases: Sequence[str]) -> Iterator[Found]:
    alias = get_settings().database
    if connections[alias].vendor != "sqlite" or alias not in databases:
        return
    with connections[alias].cursor() as cursor:
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    if mode not in ("wal", "memory"):
        yield Found(
            "W002",
            f"Jobs are kept in SQLite ({alias!r}) in journal mode {mode!r}: whoever reads stops whoever writes.",
            f"DATABASES[{alias!r}]['OPTIONS']['init_command'] = 'PRAGMA journal_mode=WAL;'",
        )
    if len(hosts := worker_hosts(alias)) > 1:
        yield Found(
            "W018",
            f"Jobs are kept in SQLite ({alias!r}), and workers on several hosts use it: {', '.join(hosts)}. Its "
            "locks do not hold over a network: jobs run twice, and the file breaks.",
            "Keep jobs in PostgreSQL, or run all workers on one host.",
        )  # fmt: skip


def worker_hosts(alias: str) -> list[str]:
    """Hosts of the workers that are alive; none while there is no table."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if Worker._meta.db_table not in connection.introspection.table_names(cursor):
            return []
    news = timezone.now() - get_settings().worker_timeout - dt.timedelta(seconds=1)
    alive = Worker.objects.using(alias).filter(heartbeat_at__gte=news)
    return sorted(alive.values_list("host", flat=True).distinct())
