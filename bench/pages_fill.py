"""Rows for `bench.pages`, made by SQL: what thirty days of much work leave behind."""

import argparse
import datetime as dt
import sys
import time
from typing import Any

QUEUES, TASKS, GROUPS, BATCHES, SCHEDULES, ENTRIES = 5, 50, 200, 10_000, 100_000, 100_000


def fill(options: argparse.Namespace) -> None:
    """Jobs, and what hangs on them; then what PostgreSQL wants to know of the tables."""
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    _jobs(options)
    _failures()
    _batches(options)
    _schedules(options)
    _audit()
    _holds()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _copies(pattern: Any, own: dict[str, str], *, first: int, last: int) -> None:
    """Rows like that one, but for some columns: what they are for each number i."""
    from django.db import connection

    columns = [
        field.column
        for field in pattern._meta.concrete_fields
        if not field.generated and (field.column in own or field.get_internal_type() != "BigAutoField")
    ]
    named = ", ".join(f'"{name}"' for name in columns)
    chosen = ", ".join(own.get(name, f'p."{name}"') for name in columns).replace("%", "%%")
    table, key = pattern._meta.db_table, pattern._meta.pk.column
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({named}) SELECT {chosen}"
            f" FROM {table} p, generate_series({first}, {last}) AS i WHERE p.{key} = %s",
            [pattern.pk],
        )


def _jobs(options: argparse.Namespace) -> None:
    from tests.app.tasks import nothing

    pattern, own, began = nothing.enqueue(), _job_columns(options), time.monotonic()
    for first in range(1, options.rows + 1, 500_000):
        last = min(options.rows, first + 499_999)
        _copies(pattern, own, first=first, last=last)
        print(f"{last:,} rows after {time.monotonic() - began:,.0f} s", file=sys.stderr)
    pattern.delete()


def _job_columns(options: argparse.Namespace) -> dict[str, str]:
    """What differs from job to job: thirty days of them, the last of which wait, failures here and there before.

    One in eleven has no tenant, and one tenant has as many; 20 run, 500 are in the broker, and of those that wait some
    have a time to come. Every tenth is a member of one of a hundred batches.
    """
    rows, ended = options.rows, options.rows - options.backlog
    every = max(1, ended // options.failures)
    waits = f"i > {ended}"
    created = f"now() - interval '30 days' * ({rows} - i) / {rows}"
    state = (
        f"CASE WHEN i > {rows} - 20 THEN 'running' WHEN i > {rows} - 520 THEN 'queued' WHEN {waits} THEN 'pending'"
        f" WHEN i % {every} = 0 THEN 'failed' WHEN i % 37 = 0 THEN 'cancelled' ELSE 'succeeded' END"
    )
    tenant = (
        "CASE (hashint4(i + 1) & 2147483647) % 11 WHEN 3 THEN '' WHEN 5 THEN 'large'"
        f" ELSE 'tenant-' || (hashint4(i) & 2147483647) % {options.tenants} END"
    )
    milliseconds = f"lpad(to_hex((extract(epoch FROM {created}) * 1000)::bigint), 12, '0')"
    job_id = f"({milliseconds} || '7' || lpad(to_hex(i % 4096), 3, '0') || '8' || substr(md5(i::text), 1, 15))::uuid"
    later = f"{waits} AND i <= {rows} - 520 AND i % 20 = 0"
    return {
        "id": job_id, "root": job_id,
        "task": f"'app.task' || i % {TASKS}", "queue": f"'queue' || i % {QUEUES}",
        "tenant": tenant, "state": state, "due": f"NOT ({later})", "created_at": created,
        "available_at": f"CASE WHEN {later} THEN now() + interval '1 day' ELSE {created} END",
        "published_at": f"CASE WHEN i > {rows} - 520 THEN now() WHEN {waits} THEN NULL ELSE {created} END",
        "started_at": f"CASE WHEN i > {rows} - 20 THEN now() WHEN {waits} THEN NULL ELSE {created} END",
        "finished_at": f"CASE WHEN {waits} THEN NULL ELSE {created} + interval '1 second' END", "attempt": "1",
        "error": f"CASE WHEN i % {every} = 0 AND NOT {waits} THEN"
        """ '{"type":"ValueError","message":"order 17 is gone","reason":""}' END""",
        "batch": f"CASE WHEN i % 10 = 0 THEN md5('batch' || (i - 1) / ({rows} / 100) * {BATCHES // 100})::uuid END",
    }  # fmt: skip


def _failures() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO taskyard_failuregroup (fingerprint, task, error_type, reason, message, frames, first_seen_at,"
            " first_release, seen_at, state, snoozed_release, note) SELECT '1-' || i, 'app.task' || i %% %s,"
            " 'ValueError', '', 'order <n> is gone', '[]', now() - interval '30 days', '', now(), 'open', '', ''"
            " FROM generate_series(0, %s) AS i", [TASKS, GROUPS - 1],
        )  # fmt: skip
        cursor.execute(
            "INSERT INTO taskyard_failure (job_id, group_id, tenant, failed_at) SELECT id, '1-' || abs(hashtext("
            "id::text)) %% %s, tenant, finished_at FROM taskyard_job WHERE state = 'failed'", [GROUPS],
        )  # fmt: skip


def _batches(options: argparse.Namespace) -> None:
    from django.utils import timezone

    from taskyard.models import Batch

    now = timezone.now()
    pattern = Batch.objects.create(
        name="import", state="completed", is_sealed=True, total=options.rows // 1_000, succeeded=options.rows // 1_000,
        created_at=now, updated_at=now, stale_at=now, stale_after=60, finished_at=now,
    )  # fmt: skip
    own = {
        "id": "md5('batch' || i)::uuid", "created_at": f"now() - interval '30 days' * ({BATCHES} - i) / {BATCHES}",
        "tenant": f"'tenant-' || i % {options.tenants}", "name": f"'import ' || i % {TASKS}",
        "state": f"CASE WHEN i > {BATCHES} - 110 THEN 'running' ELSE 'completed' END",
    }  # fmt: skip
    _copies(pattern, own, first=0, last=BATCHES - 1)
    pattern.delete()


def _schedules(options: argparse.Namespace) -> None:
    from taskyard.models import Schedule
    from taskyard.schedules import Every
    from tests.app.tasks import nothing

    pattern = Schedule.objects.define(name="pattern", recurrence=Every(dt.timedelta(hours=1)), task=nothing)
    own = {
        "name": "'report ' || i", "tenant": f"'tenant-' || i % {options.tenants}", "task": f"'app.task' || i % {TASKS}",
    }  # fmt: skip
    _copies(pattern, own, first=1, last=SCHEDULES)
    pattern.delete()


def _audit() -> None:
    from django.utils import timezone

    from taskyard.models import AuditEntry

    pattern = AuditEntry.objects.create(at=timezone.now(), who="ann", verb="retry", kind="job", via="cli")
    own = {
        "at": f"now() - interval '30 days' * ({ENTRIES} - i) / {ENTRIES}", "target": "md5(i::text)",
        "tenant": "'tenant-' || i % 100", "who": "'user ' || i % 30",
    }  # fmt: skip
    _copies(pattern, own, first=1, last=ENTRIES)
    pattern.delete()


def _holds() -> None:
    """One tenant is paused and one limited: what they hold back is counted too."""
    from django.utils import timezone

    from taskyard.models import TenantSetting

    TenantSetting.objects.limit("tenant-1", max_running=0, per=dt.timedelta(seconds=1))
    TenantSetting.objects.filter(tenant="tenant-1").update(paused_at=timezone.now(), paused_by="ann")
    TenantSetting.objects.limit("large", max_running=10)
