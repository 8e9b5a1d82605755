"""Is the database there, quick, migrated, rightly set, and of the same time?"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator

from django.db import connections

from taskyard.checks.sqlite import worker_hosts
from taskyard.monitoring.diagnosis.finding import Finding, fail, ok, warn
from taskyard.monitoring.troubles import place, unapplied_migrations
from taskyard.monitoring.words import duration
from taskyard.settings import get_settings

_SLOW_SECONDS, _TOO_SLOW_SECONDS = 0.02, 0.25
_SKEW_SECONDS, _TOO_MUCH_SKEW_SECONDS = 1.0, 10.0
_CLOCKS = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
    "mysql": "SELECT UNIX_TIMESTAMP(NOW(6))",
    "oracle": "",
}


def latency() -> Iterator[Finding]:
    """The median of a few round trips."""
    alias = get_settings().database
    took = []
    connections[alias].ensure_connection()
    with connections[alias].cursor() as cursor:
        for _ in range(9):
            began = time.perf_counter()
            cursor.execute("SELECT 1")
            cursor.fetchone()
            took.append(time.perf_counter() - began)
    median = sorted(took)[len(took) // 2]
    says = f"{place(alias)} answers in {duration(median) if median >= 0.001 else f'{median * 1e6:.0f} µs'}"
    if median < _SLOW_SECONDS:
        yield ok("database", says)
        return
    fix = "Each job takes four statements: run workers near the database, and look at its load."
    yield (fail if median > _TOO_SLOW_SECONDS else warn)("database", says, fix=fix)


def migrations() -> Iterator[Finding]:
    """Whether the tables are there and new."""
    alias = get_settings().database
    missing = unapplied_migrations(alias)
    if missing:
        option = "" if alias == "default" else f" --database={alias}"
        yield fail("migrations", f"not applied: {', '.join(missing)}", fix=f"Run: manage.py migrate taskyard{option}")
    else:
        yield ok("migrations", "all applied")


def sqlite() -> Iterator[Finding]:
    """WAL and IMMEDIATE, without which writers fail each other with "database is locked"; and one host."""
    alias = get_settings().database
    connection = connections[alias]
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        journal = str(cursor.fetchone()[0]).lower()
    mode = str(connection.settings_dict.get("OPTIONS", {}).get("transaction_mode") or "DEFERRED").upper()
    fix = (
        f"Set DATABASES[{alias!r}]['OPTIONS'] = {{'transaction_mode': 'IMMEDIATE', "
        "'init_command': 'PRAGMA journal_mode=WAL;'}."
    )
    if journal != "wal" or mode == "DEFERRED":
        yield fail(
            "sqlite", f"journal_mode is {journal}, transaction_mode is {mode}: writers lock each other out", fix=fix
        )
    else:
        yield ok("sqlite", f"journal_mode {journal}, transaction_mode {mode}")
    if len(hosts := worker_hosts(alias)) > 1:
        yield fail(
            "sqlite hosts", f"workers on several hosts use one file: {', '.join(hosts)}",
            fix="Keep jobs in PostgreSQL, or run all workers on one host (docs/checks.md#w018).",
        )  # fmt: skip


def vacuum() -> Iterator[Finding]:
    """Whether PostgreSQL takes away what updates leave behind: each job leaves three dead rows."""
    connection = connections[get_settings().database]
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean,"
            " NOT EXISTS (SELECT 1 FROM pg_class WHERE oid = to_regclass('taskyard_job')"
            " AND 'autovacuum_enabled=false' = ANY(reloptions))"
        )
        is_on, is_on_here = cursor.fetchone()
    if is_on and is_on_here:
        yield ok("vacuum", "autovacuum is on")
        return
    where = "the server" if not is_on else "the table of jobs"
    yield warn(
        "vacuum", f"autovacuum is off for {where}: it grows by each job and never shrinks",
        fix="Set autovacuum = on and track_counts = on in postgresql.conf, or VACUUM taskyard_job every few minutes.",
    )  # fmt: skip


def clock() -> Iterator[Finding]:
    """Whether this host and the database agree on the time."""
    connection = connections[get_settings().database]
    question = _CLOCKS.get(connection.vendor)
    if not question:
        yield ok("clock", "the database is in this host")
        return
    with connection.cursor() as cursor:
        before = dt.datetime.now(dt.UTC).timestamp()
        cursor.execute(question)
        theirs = float(cursor.fetchone()[0])
        after = dt.datetime.now(dt.UTC).timestamp()
    # Its answer lies between the two moments; only what is outside of them is skew.
    skew = theirs - after if theirs > after else theirs - before if theirs < before else 0.0
    says = f"the database is {abs(skew):.3f} s {'ahead of' if skew > 0 else 'behind'} this host" if skew else "in step"
    fix = "Let both hosts follow NTP: due times and heartbeats are compared across them."
    if abs(skew) < _SKEW_SECONDS:
        yield ok("clock", says)
    else:
        yield (fail if abs(skew) > _TOO_MUCH_SKEW_SECONDS else warn)("clock", says, fix=fix)


def time_zones() -> Iterator[Finding]:
    """Stored times must be instants."""
    from django.conf import settings

    if settings.USE_TZ:
        yield ok("time zones", "USE_TZ is on")
    else:
        yield fail("time zones", "USE_TZ is off: stored times are ambiguous twice a year", fix="Set USE_TZ = True.")
