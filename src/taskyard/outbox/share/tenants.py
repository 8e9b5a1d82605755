"""What rows say of tenants and queues: what an operator allows them, what they have out, and what their jobs cost."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from taskyard.jobs.models import Attempt
from taskyard.jobs.rows.sql import PUT_BACK, TABLE, Sql
from taskyard.outbox.models import QueueSetting, TenantSetting
from taskyard.outbox.share.limits import UNLIMITED, Limit, Meter

#: How often settings are read: a change is to work within a second, and what stands in the broker still runs.
_SETTINGS_EVERY = dt.timedelta(milliseconds=400)
#: How often costs are read, and how late a job's end may be committed, or a worker's clock be.
_COSTS_EVERY = dt.timedelta(seconds=1)
_LATEST = dt.timedelta(seconds=4)
#: Without a second bound a planner that knows nothing takes the condition for a third of the table.
_AHEAD = dt.timedelta(hours=1)
#: A job that runs longer is charged while it runs.
_LONG = dt.timedelta(seconds=1)
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)

_SAID = "max_running, rate, rate_seconds, CASE WHEN paused_at IS NULL THEN 0 ELSE 1 END"
_IS_BOUNDED = "max_running IS NOT NULL OR rate IS NOT NULL OR paused_at IS NOT NULL"
_SETTINGS = (
    f"SELECT 1, name, 1.0, {_SAID} FROM {QueueSetting._meta.db_table} WHERE {_IS_BOUNDED}"
    f" UNION ALL SELECT 2, tenant, weight, {_SAID} FROM {TenantSetting._meta.db_table}"
    f" WHERE weight <> 1 OR {_IS_BOUNDED}"
)
_OUT = f"SELECT tenant, COUNT(*) FROM {TABLE} WHERE lane = 2 GROUP BY tenant"

#: Seconds between two times, and a name for the second a time lies in.
_BETWEEN = {
    "postgresql": "EXTRACT(EPOCH FROM ({end} - {start}))::float8",
    "sqlite": "(julianday({end}) - julianday({start})) * 86400.0",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, {start}, {end}) / 1000000.0e0",
}
_SECOND_OF = {
    "postgresql": "EXTRACT(EPOCH FROM date_trunc('second', {at}))::int8",
    "sqlite": "substr({at}, 1, 19)",
    "mysql": "TIMESTAMPDIFF(SECOND, '2000-01-01', {at})",
}


class Tenants:
    """What operators say, and how much of it is used up: the terms of a turn."""

    def __init__(self) -> None:
        self.queues: Mapping[str, Limit] = {}
        self.tenants: Mapping[str, Limit] = {}
        self.weights: Mapping[str, float] = {}
        #: Whether any tenant is paused or limited.
        self.hold_back = False
        #: Whether a limit counts over all queues together, so that one feeder has to act for all of them.
        self.is_counted = False
        self._counts_out = False
        #: Queues that live workers consume.
        self.attended: Collection[str] = ()
        self._out: dict[str, int] = {}
        self._meters = {"queue": Meter(), "tenant": Meter()}
        self._rows: list[Any] = []
        self._read_at = _NEVER

    @property
    def paused_queues(self) -> set[str]:
        """Queues that are held back."""
        return {name for name, limit in self.queues.items() if limit.is_paused}

    @property
    def paused_tenants(self) -> list[str]:
        """Tenants that are held back."""
        return sorted(tenant for tenant, limit in self.tenants.items() if limit.is_paused)

    @property
    def may_soon_go_on(self) -> bool:
        """Whether what is held back may be free as soon as a job ends, or by the passing of time."""
        return self.is_counted or any(not limit.is_paused for limit in self.queues.values())

    def call_back(self, sql: Sql) -> None:
        """What limited tenants have in line for workers that are gone waits in the table, where it holds nothing up.

        A message that still comes of it finds the job not queued, or queued again.
        """
        if not self._counts_out:
            return
        limited = [tenant for tenant, limit in self.tenants.items() if limit.max_running is not None]
        attended = sorted(self.attended)
        elsewhere = f" AND queue NOT IN ({', '.join(['%s'] * len(attended))})" if attended else ""
        sql.execute(
            f"UPDATE {TABLE} SET {PUT_BACK} WHERE lane = 2 AND state = 'queued' AND worker IS NULL"
            f" AND tenant IN ({', '.join(['%s'] * len(limited))}){elsewhere}",
            [*limited, *attended],
        )

    def forget(self) -> None:
        """Read everything anew in the next turn."""
        self._read_at = _NEVER

    def read(self, sql: Sql, now: dt.datetime) -> None:
        """Read what operators said, and what each tenant has out where that matters."""
        if not dt.timedelta(0) <= now - self._read_at < _SETTINGS_EVERY:
            self._read_at = now
            rows = sql.all(_SETTINGS, [])
            if rows != self._rows:
                self._rows = rows
                self._heed({kind: {row[1]: _limit(row) for row in rows if row[0] == kind} for kind in (1, 2)})
        self._out = dict(sql.all(_OUT, [])) if self._counts_out else {}

    def _heed(self, said: Mapping[int, Mapping[str, Limit]]) -> None:
        self.queues, self.tenants = said[1], said[2]
        self.weights = {tenant: limit.weight for tenant, limit in self.tenants.items() if limit.weight != 1}
        self.hold_back = any(limit.is_bounded for limit in self.tenants.values())
        self._counts_out = any(limit.max_running is not None for limit in self.tenants.values())
        self.is_counted = self._counts_out or any(limit.rate is not None for limit in self.tenants.values())
        self._meters["queue"].forget(set(self.queues))
        self._meters["tenant"].forget(set(self.tenants))

    def room(self, tenant: str, queue: str, *, now: dt.datetime) -> int | None:
        """How many of a tenant's jobs may start now in that queue; None: any number."""
        limit = self.tenants.get(tenant, UNLIMITED)
        if not limit.is_bounded:
            return None
        if limit.max_running is not None and queue not in self.attended:
            # It would stand there and hold up what somebody is there to run.
            return 0
        return self._meters["tenant"].room(tenant, limit, out=self._out.get(tenant, 0), now=now)

    def spend(self, tenant: str, jobs: int, *, now: dt.datetime) -> None:
        """So many jobs of a tenant were fed."""
        limit = self.tenants.get(tenant)
        if limit is not None:
            self._meters["tenant"].spend(tenant, limit, starts=jobs, now=now)
            self._out[tenant] = self._out.get(tenant, 0) + jobs

    def queue_room(self, queue: str, now: dt.datetime, *, out: int) -> int | None:
        """How many more jobs of a queue may start now, with ``out`` of them out; None: any number."""
        limit = self.queues.get(queue)
        return None if limit is None else self._meters["queue"].room(queue, limit, out=out, now=now)

    def spend_queue(self, queue: str, jobs: int, *, now: dt.datetime) -> None:
        """So many jobs of a queue were fed."""
        limit = self.queues.get(queue)
        if limit is not None:
            self._meters["queue"].spend(queue, limit, starts=jobs, now=now)


def _limit(row: tuple[Any, ...]) -> Limit:
    _, _, weight, max_running, rate, rate_seconds, is_paused = row
    # What was not written by limit(), and means nothing, must not stop the feeding of everybody.
    weight, rate_seconds = (value if 0 < value < math.inf else 1.0 for value in (float(weight), rate_seconds))
    return Limit(weight, max_running, rate, rate_seconds, bool(is_paused))


class Ended(NamedTuple):
    """Jobs of a tenant that ended since the last reading, or run now, and how long they took together."""

    queue: str
    priority: int
    tenant: str
    jobs: int
    seconds: float


class Costs:
    """The measured run time of jobs: those that succeeded from their rows, the others from their attempts."""

    def __init__(self) -> None:
        self._read_at = _NEVER
        self._counted: dict[tuple[Any, ...], tuple[int, float]] = {}
        self._last_attempt: int | None = None

    def is_due(self, now: dt.datetime) -> bool:
        """Whether it is time to read them."""
        return not dt.timedelta(0) <= now - self._read_at < _COSTS_EVERY

    def ended(self, sql: Sql, now: dt.datetime) -> list[Ended]:
        """What ended since it was asked last; at the first time, or after a pause, in the last seconds.

        Ends that are committed late, or by a worker whose clock is late, are found for some seconds: their second is
        read again and compared with what was counted.
        """
        if now - self._read_at > _LATEST:
            # Nobody was to share meanwhile: attempts of hours would be read, and charged to what is out now.
            self._last_attempt = None
        self._read_at = now
        before, self._counted = self._counted, self._succeeded(sql, now)
        costs = []
        for key, (jobs, seconds) in self._counted.items():
            known_jobs, known_seconds = before.get(key, (0, 0.0))
            if jobs > known_jobs:
                queue, priority, tenant, _ = key
                costs.append(Ended(queue, priority, tenant, jobs - known_jobs, max(0.0, seconds - known_seconds)))
        return costs + self._attempts(sql)

    def _succeeded(self, sql: Sql, now: dt.datetime) -> dict[tuple[Any, ...], tuple[int, float]]:
        took = _BETWEEN[sql.vendor].format(start="started_at", end="finished_at")
        second = _SECOND_OF[sql.vendor].format(at="finished_at")
        # Whole seconds, or the first of them would shrink between two readings.
        since = (now - _LATEST).replace(microsecond=0)
        rows = sql.all(
            f"SELECT queue, priority, tenant, {second}, COUNT(*), SUM({took}) FROM {TABLE}"
            " WHERE finished_at >= %s AND finished_at < %s AND started_at IS NOT NULL AND state = 'succeeded'"
            f" GROUP BY queue, priority, tenant, {second}",
            [sql.time(since), sql.time(now + _AHEAD)],
        )
        return {tuple(row[:4]): (row[4], float(row[5])) for row in rows}

    def _attempts(self, sql: Sql) -> list[Ended]:
        table = Attempt._meta.db_table
        if self._last_attempt is None:
            self._last_attempt = sql.all(f"SELECT MAX(id) FROM {table}", [])[0][0] or 0
            return []
        took = _BETWEEN[sql.vendor].format(start="attempt.started_at", end="attempt.ended_at")
        rows = sql.all(
            f"SELECT job.queue, job.priority, job.tenant, COUNT(*), SUM({took}), MAX(attempt.id)"
            f" FROM {table} AS attempt JOIN {TABLE} AS job ON job.id = attempt.job_id"
            " WHERE attempt.id > %s AND attempt.started_at IS NOT NULL GROUP BY job.queue, job.priority, job.tenant",
            [self._last_attempt],
        )
        self._last_attempt = max((row[5] for row in rows), default=self._last_attempt)
        return [Ended(row[0], row[1], row[2], row[3], max(0.0, float(row[4]))) for row in rows]

    def running(self, sql: Sql, now: dt.datetime) -> dict[tuple[str, int], dict[str, tuple[int, float]]]:
        """What has been running for a while: jobs and seconds of each tenant, by queue and priority."""
        at = sql.time(now)
        so_far = _BETWEEN[sql.vendor].format(start="started_at", end=_CAST.get(sql.vendor, "%s"))
        # Jobs of one pack are claimed together and run one after the other: they count as one.
        rows = sql.all(
            f"SELECT queue, priority, tenant, COUNT(DISTINCT claim), SUM({so_far}) / COUNT(*) FROM {TABLE}"
            " WHERE lane = 2 AND state = 'running' AND started_at < %s GROUP BY queue, priority, tenant",
            [at, sql.time(now - _LONG)],
        )
        found: dict[tuple[str, int], dict[str, tuple[int, float]]] = defaultdict(dict)
        for queue, priority, tenant, jobs, seconds in rows:
            found[queue, priority][tenant] = jobs, jobs * float(seconds)
        return found


#: A parameter that meets no column has no type.
_CAST = {"postgresql": "%s::timestamptz"}
