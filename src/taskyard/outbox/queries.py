"""The read side: which jobs operators' words and tenants hold back, and what the relay knows of outboxes."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Count, Exists, Min, OuterRef, Q

from taskyard.jobs.detail import NOT_ENTERED
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.queries import QueueOverview
from taskyard.jobs.rows.sql import Sql
from taskyard.jobs.states import LANE_DUE, LANE_LATER, LANE_OUT, State
from taskyard.outbox.models import OutboxNote, QueueSetting, RelayRound, TenantSetting
from taskyard.outbox.relay import LEASE_NAME
from taskyard.runtime.models import Lease
from taskyard.settings import get_settings

#: A tenant that could not be asked for is asked for again after this long, whatever ``TENANT_WAIT`` says.
_SHORTEST_WAIT = dt.timedelta(seconds=5)
_COLUMNS = "paused_at, paused_by, reason, max_running, rate, rate_seconds"
_IS_BOUNDED = "paused_at IS NOT NULL OR max_running IS NOT NULL OR rate IS NOT NULL"
_SAID = (
    f"SELECT 'queue', name, {_COLUMNS} FROM {QueueSetting._meta.db_table} WHERE {_IS_BOUNDED}"
    f" UNION ALL SELECT 'tenant', tenant, {_COLUMNS} FROM {TenantSetting._meta.db_table} WHERE {_IS_BOUNDED}"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """A queue or a tenant that an operator paused or limited, and its jobs."""

    #: ``queue`` or ``tenant``.
    kind: str
    name: str
    paused_at: dt.datetime | None
    paused_by: str
    reason: str
    max_running: int | None
    rate: float | None
    rate_seconds: float
    #: In the table, their time has come; and since when the oldest of them waits.
    due: int = 0
    oldest_due_at: dt.datetime | None = None
    #: Running, or in the broker's window.
    out: int = 0

    @property
    def is_stopped(self) -> bool:
        """Whether nothing of it starts until somebody says otherwise."""
        return self.paused_at is not None or self.max_running == 0 or self.rate == 0

    @property
    def is_full(self) -> bool:
        """Whether as many are out as may be."""
        return self.max_running is not None and self.out >= self.max_running

    @property
    def is_holding(self) -> bool:
        """Whether jobs that are due wait because of it. Of a rate this is as much as the rows tell."""
        return self.due > 0 and (self.is_stopped or self.is_full or self.rate is not None)


@dataclasses.dataclass(frozen=True, slots=True)
class Holds:
    """Every queue and tenant that is paused or limited."""

    queues: dict[str, Hold]
    tenants: dict[str, Hold]
    #: Due jobs and the oldest one's time by queue: without tenants that are stopped, without any that are held back.
    of_others: dict[str, tuple[int, dt.datetime | None]]
    of_free: dict[str, tuple[int, dt.datetime | None]]

    @property
    def holding(self) -> list[Hold]:
        """Those for which due jobs wait; queues before tenants, the most jobs first."""
        found = [hold for hold in (*self.queues.values(), *self.tenants.values()) if hold.is_holding]
        return sorted(found, key=lambda hold: (hold.kind, -hold.due, hold.name))

    def without_stopped(self, queue: QueueOverview) -> QueueOverview:
        """What is due of a queue, without tenants of which nothing starts."""
        return _only(queue, self.of_others)

    def without_held(self, queue: QueueOverview) -> QueueOverview:
        """What is due of a queue, without tenants that any word holds back."""
        return _only(queue, self.of_free)


def _only(queue: QueueOverview, counts: dict[str, tuple[int, dt.datetime | None]]) -> QueueOverview:
    if queue.name not in counts:
        return queue
    due, oldest = counts[queue.name]
    return dataclasses.replace(queue, due=due, oldest_due_at=oldest)


def read_holds(queues: Sequence[QueueOverview]) -> Holds:
    """What holds jobs back, given what stands in each queue.

    One statement where nobody is paused or limited, and no more where only queues are.
    """
    sql = Sql(get_settings().database)
    said = [_hold(sql, row) for row in sql.all(_SAID, [])]
    standing = {queue.name: queue for queue in queues}
    of_queues = {hold.name: _with_queue(hold, standing.get(hold.name)) for hold in said if hold.kind == "queue"}
    of_tenants = _with_jobs([hold for hold in said if hold.kind == "tenant"])
    stopped = {hold.name for hold in of_tenants if hold.is_holding and hold.is_stopped}
    held = {hold.name for hold in of_tenants if hold.is_holding}
    of_others = _due_without(stopped, queues) if stopped else {}
    of_free = of_others if held == stopped else _due_without(held, queues)
    return Holds(of_queues, {hold.name: hold for hold in of_tenants}, of_others, of_free)


def find_holds(queue: str, tenant: str) -> list[Hold]:
    """What an operator said of one queue and one tenant, with what each has out."""
    rows: list[tuple[str, Any]] = [("queue", row) for row in QueueSetting.objects.filter(name=queue)]
    rows += [("tenant", row) for row in TenantSetting.objects.filter(tenant=tenant)]
    return [_hold_of(kind, row) for kind, row in rows]


def _hold_of(kind: str, row: Any) -> Hold:
    out = Job.objects.get_queryset().filter(**{kind: row.pk}, lane=LANE_OUT).count() if row.max_running else 0
    return Hold(
        kind,
        row.pk,
        row.paused_at,
        row.paused_by,
        row.reason,
        row.max_running,
        row.rate,
        row.rate_seconds,
        1,
        None,
        out,
    )


def _hold(sql: Sql, row: Sequence[Any]) -> Hold:
    kind, name, paused_at, *rest = row
    return Hold(kind, name, sql.read_time(paused_at), *rest)


def _with_queue(hold: Hold, queue: QueueOverview | None) -> Hold:
    if queue is None:
        return hold
    out = queue.queued + queue.running
    return dataclasses.replace(hold, due=queue.due, oldest_due_at=queue.oldest_due_at, out=out)


def _with_jobs(holds: Sequence[Hold]) -> list[Hold]:
    if not holds:
        return []
    jobs = Job.objects.get_queryset().filter(tenant__in=[hold.name for hold in holds]).values("tenant")
    due = {
        row["tenant"]: {"due": row["n"], "oldest_due_at": row["oldest"]}
        for row in jobs.filter(lane=LANE_DUE).annotate(n=Count("id"), oldest=Min("available_at"))
    }
    out = {row["tenant"]: row["n"] for row in jobs.filter(lane=LANE_OUT).annotate(n=Count("id"))}
    return [dataclasses.replace(hold, **due.get(hold.name, {}), out=out.get(hold.name, 0)) for hold in holds]


def _due_without(tenants: Iterable[str], queues: Sequence[QueueOverview]) -> dict[str, tuple[int, dt.datetime | None]]:
    due = Job.objects.get_queryset().filter(lane=LANE_DUE).exclude(tenant__in=list(tenants))
    found = {row["queue"]: row for row in due.values("queue").annotate(n=Count("id"), oldest=Min("available_at"))}
    nothing: dict[str, Any] = {"n": 0, "oldest": None}
    rows = {queue.name: found.get(queue.name, nothing) for queue in queues}
    return {name: (row["n"], row["oldest"]) for name, row in rows.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class NotEntered:
    """Jobs of a tenant that were put back because it could not be entered."""

    tenant: str
    waiting: int
    #: When the oldest of them was created, and when the next one is looked at again.
    since: dt.datetime
    again_at: dt.datetime
    #: What one of them was told: type, message and reason.
    error: dict[str, Any]


def not_entered(now: dt.datetime) -> list[NotEntered]:
    """Jobs that wait until their tenant can be entered, by tenant, the most jobs first.

    Looks at what is to be looked at again within ``TENANT_WAIT``. Limit: jobs whose time has come again, and that no
    worker takes, are not among them; what they wait for is a worker.
    """
    until = now + max(get_settings().tenant_wait, _SHORTEST_WAIT)
    is_told = Q()
    for reason in NOT_ENTERED:
        is_told |= Q(error__contains=f'"{reason}"')
    has_run = Exists(Attempt.objects.filter(job_id=OuterRef("id"), number=OuterRef("attempt")))
    jobs = Job.objects.get_queryset().filter(lane=LANE_LATER, state=State.PENDING.value, available_at__lte=until)
    rows = jobs.filter(is_told, ~has_run).values("tenant").annotate(
        waiting=Count("id"), since=Min("created_at"), again=Min("available_at"), sample=Min("error")
    )  # fmt: skip
    found = [NotEntered(row["tenant"], row["waiting"], row["since"], row["again"], row["sample"]) for row in rows]
    return sorted(found, key=lambda one: (-one.waiting, one.tenant))


@dataclasses.dataclass(frozen=True, slots=True)
class OutboxView:
    """One outbox that is not well; see :class:`~taskyard.outbox.models.OutboxNote`."""

    #: A tenant's name, or an alias of the project's own.
    name: str
    is_tenants: bool
    waiting: int
    unreadable: int
    oldest_at: dt.datetime | None
    seen_at: dt.datetime | None
    failing_since: dt.datetime | None
    error: str
    again_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class RelayOverview:
    """What the relay knows; nothing of it was asked of a tenant's database now."""

    #: Whether one acts now.
    is_acting: bool
    #: Of the last time that all outboxes had been looked into; None: it has not happened yet.
    outboxes: int | None
    round_began_at: dt.datetime | None
    round_ended_at: dt.datetime | None
    #: Where messages stood, or what could not be looked into.
    notes: tuple[OutboxView, ...]

    @property
    def waiting(self) -> int:
        """Messages that stood in all of them."""
        return sum(note.waiting for note in self.notes)


def has_outboxes() -> bool:
    """Whether jobs may be written in other databases than the one where they live."""
    settings = get_settings()
    return settings.tenancy == "databases" or bool(settings.outbox_databases)


def relay_overview(now: dt.datetime) -> RelayOverview:
    """What the relay wrote down: three statements, however many outboxes there are."""
    alias = get_settings().database
    is_acting = Lease.objects.using(alias).filter(name=LEASE_NAME, expires_at__gt=now).exists()
    last = RelayRound.objects.using(alias).first()
    notes = OutboxNote.objects.using(alias).order_by("-waiting", "place")
    views = tuple(_view(note) for note in notes)
    if last is None:
        return RelayOverview(is_acting, None, None, None, views)
    return RelayOverview(is_acting, last.outboxes, last.began_at, last.ended_at, views)


def _view(note: OutboxNote) -> OutboxView:
    return OutboxView(
        name=note.place.removeprefix(":"), is_tenants=note.place.startswith(":"), waiting=note.waiting,
        unreadable=note.unreadable, oldest_at=note.oldest_at, seen_at=note.seen_at,
        failing_since=note.failing_since, error=note.error, again_at=note.again_at,
    )  # fmt: skip
