"""The read side of jobs, queues and workers: frozen values, for commands, pages and monitoring.

``tenant`` is who is looking, everywhere: a tenant sees its own jobs, None is an operator who sees all of them. Jobs of
another tenant do not exist then: they are left out by the statement itself, never after they were found.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.db.models import Count, F, Min

from taskyard.jobs.models import Job, JobQuerySet
from taskyard.jobs.states import FINAL, LANE_DUE, LANE_LATER, LANE_OUT, State
from taskyard.runtime.models import Worker
from taskyard.settings import get_settings

_IN_TABLE = frozenset({State.PENDING, State.RETRYING})
_OUT = frozenset({State.QUEUED, State.RUNNING})
#: Those that always have an error.
BAD = frozenset({State.FAILED, State.CANCELLED})


@dataclasses.dataclass(frozen=True, slots=True)
class QueueOverview:
    """One queue now."""

    name: str
    #: In the table, its time has come.
    due: int = 0
    #: In the table, waiting for its time.
    later: int = 0
    #: In the broker's window.
    queued: int = 0
    running: int = 0
    #: Since when the oldest due job waits.
    oldest_due_at: dt.datetime | None = None
    #: Jobs that reached a final state in the last minute.
    finished_last_minute: int = 0
    #: Live workers that consume it, and their slots.
    workers: int = 0
    slots: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerOverview:
    """One worker process."""

    id: uuid.UUID
    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    slots: int
    running: int
    version: str
    started_at: dt.datetime
    heartbeat_at: dt.datetime
    heartbeat_age_seconds: float
    #: ``alive``, ``stopping`` or ``silent`` (no heartbeat within ``WORKER_TIMEOUT``).
    state: str


@dataclasses.dataclass(frozen=True, slots=True)
class TenantOverview:
    """One tenant's jobs now."""

    name: str
    #: In the table or in the broker's window.
    waiting: int = 0
    running: int = 0
    failed: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant; what is not given matches everything."""

    states: tuple[str, ...] = ()
    #: A name, or a prefix followed by ``*``.
    task: str = ""
    queue: str = ""
    #: Jobs of this tenant alone; for a tenant who is looking, its own name.
    tenant: str | None = None
    #: Created at or after; where only final states are asked for: ended at or after.
    since: dt.datetime | None = None
    #: Fingerprint of a group of failures: those that stand failed in it.
    group: str = ""
    #: Members of this batch.
    batch: uuid.UUID | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it matches every job there is."""
        return self == JobFilter()

    @property
    def is_final_only(self) -> bool:
        """Whether only jobs that have ended are asked for."""
        return bool(self.group) or (bool(self.states) and set(self.states) <= FINAL)

    @property
    def order(self) -> tuple[str, str]:
        """Columns that jobs are listed by, the latest first: of those that have ended, when they did."""
        if self.group:
            # The same time, in the order of an index of failures: it finds the last ones without sorting all.
            return "failure__failed_at", "failure__job_id"
        return ("finished_at" if self.is_final_only else "created_at"), "id"


@dataclasses.dataclass(frozen=True, slots=True)
class JobSummary:
    """One line of a list of jobs."""

    id: uuid.UUID
    task: str
    state: str
    queue: str
    tenant: str
    priority: int
    attempt: int
    max_attempts: int
    created_at: dt.datetime
    available_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    cancel_requested_at: dt.datetime | None
    progress_current: float | None
    progress_total: float | None
    progress_message: str
    progress_at: dt.datetime | None
    error: Mapping[str, Any] | None

    @property
    def reason(self) -> str:
        """Why it is failed, cancelled or tried again, in one line."""
        return reason_of(self.error)


_SUMMARY = tuple(field.name for field in dataclasses.fields(JobSummary))


def reason_of(error: Mapping[str, Any] | None) -> str:
    """A stored error in one line."""
    if not error:
        return ""
    kind, message, reason = (str(error.get(key) or "") for key in ("type", "message", "reason"))
    text = ": ".join(part for part in (kind, message) if part)
    return f"{text} ({reason})" if reason and reason.lower() not in text.lower() else text


def _jobs(tenant: str | None = None) -> JobQuerySet:
    return Job.objects.visible_to(tenant)


def queue_overview(now: dt.datetime, *, tenant: str | None = None) -> list[QueueOverview]:
    """Every queue that is declared, has work, or has a worker; declared ones first, in their order of urgency.

    Workers and their slots are everybody's; all that is counted of jobs is of the jobs of whoever is looking.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in get_settings().queues}
    for row in _jobs(tenant).filter(lane=LANE_DUE).values("queue").annotate(n=Count("id"), oldest=Min("available_at")):
        found.setdefault(row["queue"], {}).update(due=row["n"], oldest_due_at=row["oldest"])
    for row in _jobs(tenant).filter(lane=LANE_LATER).values("queue").annotate(n=Count("id")):
        found.setdefault(row["queue"], {})["later"] = row["n"]
    for row in _jobs(tenant).filter(lane=LANE_OUT).values("queue", "state").annotate(n=Count("id")):
        found.setdefault(row["queue"], {})[row["state"]] = row["n"]
    recent = _jobs(tenant).filter(finished_at__gt=now - dt.timedelta(minutes=1)).values("queue").annotate(n=Count("id"))
    for row in recent:
        found.setdefault(row["queue"], {})["finished_last_minute"] = row["n"]
    for worker in worker_overview(now):
        if worker.state == "alive":
            for name in worker.queues:
                values = found.setdefault(name, {})
                values["workers"] = values.get("workers", 0) + 1
                values["slots"] = values.get("slots", 0) + worker.slots
    declared = list(get_settings().queues)
    order = {name: place for place, name in enumerate(declared)}
    names = sorted(found, key=lambda name: (order.get(name, len(order)), name))
    return [QueueOverview(name=name, **found[name]) for name in names]


def worker_overview(now: dt.datetime, *, tenant: str | None = None) -> list[WorkerOverview]:
    """Every registered worker, by name; what it runs is counted of the jobs of whoever is looking."""
    out = _jobs(tenant).filter(lane=LANE_OUT, state=State.RUNNING.value)
    running = dict(out.values_list("worker").annotate(n=Count("id")))
    workers = Worker.objects.using(get_settings().database).filter(role="worker").order_by("name", "started_at")
    return [_worker(worker, running.get(worker.id, 0), now) for worker in workers]


def _worker(worker: Worker, running: int, now: dt.datetime) -> WorkerOverview:
    age = now - worker.heartbeat_at
    state = "silent" if age > get_settings().worker_timeout else "stopping" if worker.stopping_at else "alive"
    return WorkerOverview(
        id=worker.id, name=worker.name, host=worker.host, pid=worker.pid, queues=tuple(worker.queues),
        slots=worker.slots, running=running, version=worker.version, started_at=worker.started_at,
        heartbeat_at=worker.heartbeat_at, heartbeat_age_seconds=round(age.total_seconds(), 1), state=state,
    )  # fmt: skip


def tenant_overview(failed: Mapping[str, int], *, tenant: str | None = None) -> list[TenantOverview]:
    """Every tenant that has jobs waiting, running or, as is given, standing failed; by name."""
    found: dict[str, dict[str, int]] = {name: {"failed": count} for name, count in failed.items()}
    rows = _jobs(tenant).order_by()
    # One lane by one: each has a partial index on PostgreSQL, and all three at once would be a look at every job.
    for lane in (LANE_LATER, LANE_DUE):
        for name, count in rows.filter(lane=lane).values_list("tenant").annotate(n=Count("id")):
            counts = found.setdefault(name, {})
            counts["waiting"] = counts.get("waiting", 0) + count
    for name, state, count in rows.filter(lane=LANE_OUT).values_list("tenant", "state").annotate(n=Count("id")):
        kind = "running" if state == State.RUNNING else "waiting"
        counts = found.setdefault(name, {})
        counts[kind] = counts.get(kind, 0) + count
    return [TenantOverview(name, **found[name]) for name in sorted(found) if name]


def ended_since(since: dt.datetime, *, tenant: str | None = None) -> dict[str, int]:
    """How many jobs ended since then, by final state; a state nothing ended in is 0."""
    counts = dict.fromkeys((s.value for s in State if s in FINAL), 0)
    for row in _jobs(tenant).filter(finished_at__gte=since).values("state").annotate(n=Count("id")):
        if row["state"] in counts:
            counts[row["state"]] = row["n"]
    return counts


def matching(wanted: JobFilter) -> JobQuerySet:
    """The jobs a filter means, newest first; for final states the last ended first."""
    jobs = _narrowed_by_lane(_jobs(wanted.tenant), frozenset(State(name) for name in wanted.states))
    if wanted.task.endswith("*"):
        jobs = jobs.filter(task__startswith=wanted.task[:-1])
    elif wanted.task:
        jobs = jobs.filter(task=wanted.task)
    if wanted.queue:
        jobs = jobs.filter(queue=wanted.queue)
    jobs = among(jobs, wanted)
    moment, key = wanted.order
    if wanted.since is not None:
        jobs = jobs.filter(**{f"{moment}__gte": wanted.since})
    return jobs.order_by(f"-{moment}", f"-{key}")


def among(jobs: JobQuerySet, wanted: JobFilter) -> JobQuerySet:
    """Those of the batch and of the group of failures that a filter names."""
    if wanted.batch is not None:
        jobs = jobs.filter(batch=wanted.batch)
        if wanted.states and BAD.issuperset(wanted.states):
            # These have an index of their own: a million members that ended well are not looked at.
            jobs = jobs.filter(error__isnull=False)
    if wanted.group:
        jobs = jobs.filter(failure__group=wanted.group)
        if wanted.tenant is not None:
            # Said twice: of a large group few may be this one's, and failures have an index of them.
            jobs = jobs.filter(failure__tenant=wanted.tenant)
    return jobs


def _narrowed_by_lane(jobs: JobQuerySet, states: frozenset[State]) -> JobQuerySet:
    # No index knows the state (docs/decisions/0002); the lane and the end leave few enough rows to look at.
    if not states:
        return jobs
    jobs = jobs.filter(state__in=[state.value for state in states])
    if states <= FINAL:
        return jobs.filter(finished_at__isnull=False)
    if states <= _IN_TABLE:
        return jobs.filter(lane__in=[LANE_LATER, LANE_DUE])
    return jobs.filter(lane=LANE_OUT) if states <= _OUT else jobs


def list_jobs(wanted: JobFilter, *, limit: int) -> list[JobSummary]:
    """The first ``limit`` jobs a filter means."""
    return [_summary(job) for job in matching(wanted).only(*_SUMMARY)[:limit]]


def _summary(job: Job) -> JobSummary:
    return JobSummary(**{name: getattr(job, name) for name in _SUMMARY})


def summaries(job_ids: Collection[uuid.UUID], *, tenant: str | None = None) -> dict[uuid.UUID, JobSummary]:
    """Those of the jobs that exist, by id."""
    rows = _jobs(tenant).filter(id__in=list(job_ids)).only(*_SUMMARY)
    return {job.id: _summary(job) for job in rows}


def matching_ids(wanted: JobFilter, *, batch: int = 500) -> Iterator[list[uuid.UUID]]:
    """Ids of all jobs a filter means, in batches; taken at once, so that changing them does not move the list."""
    ids = list(matching(wanted).values_list("id", flat=True))
    for start in range(0, len(ids), batch):
        yield ids[start : start + batch]


def is_idle(*, tenant: str | None = None) -> bool:
    """Whether nothing is due, out, waiting for a canvas, or to be tried again; work for a later time does not count."""
    for lane in (LANE_DUE, LANE_OUT):
        if _jobs(tenant).filter(lane=lane).exists():
            return False
    if _jobs(tenant).filter(lane=LANE_LATER, state=State.RETRYING.value).exists():
        return False
    # No index finds these, so they are looked for last.
    return not _jobs(tenant).filter(state=State.WAITING.value).exists()


def created_between(
    after: dt.datetime, until: dt.datetime, *, limit: int, tenant: str | None = None
) -> list[JobSummary]:
    """Unfinished jobs created in that time, oldest first."""
    lanes = [LANE_LATER, LANE_DUE, LANE_OUT]
    rows = _jobs(tenant).filter(lane__in=lanes, created_at__gt=after, created_at__lte=until)
    return [_summary(job) for job in rows.only(*_SUMMARY).order_by("created_at", "id")[:limit]]


def ended_between(after: dt.datetime, until: dt.datetime, *, limit: int, tenant: str | None = None) -> list[JobSummary]:
    """Jobs that ended in that time, oldest first."""
    rows = _jobs(tenant).filter(finished_at__gt=after, finished_at__lte=until)
    return [_summary(job) for job in rows.only(*_SUMMARY).order_by("finished_at", "id")[:limit]]


def running_jobs(*, limit: int, tenant: str | None = None) -> list[JobSummary]:
    """Running jobs, longest first."""
    rows = _jobs(tenant).filter(lane=LANE_OUT, state=State.RUNNING.value)
    return [_summary(job) for job in rows.only(*_SUMMARY).order_by("started_at")[:limit]]


def past_their_limit(now: dt.datetime, grace: dt.timedelta, *, tenant: str | None = None) -> Sequence[JobSummary]:
    """Running jobs whose hard time limit ended longer than ``grace`` ago: nothing enforced it."""
    rows = _jobs(tenant).filter(
        lane=LANE_OUT, state=State.RUNNING.value, time_limit__isnull=False, started_at__isnull=False
    )
    late = [
        job
        for job in rows.only(*_SUMMARY, "time_limit")
        if job.started_at and job.started_at + dt.timedelta(seconds=job.time_limit or 0) + grace < now
    ]
    return [_summary(job) for job in late]


def count_final(states: Iterable[str], until: dt.datetime, *, tenant: str | None = None) -> dict[str, int]:
    """How many jobs of final states ended before ``until``."""
    rows = _jobs(tenant).filter(finished_at__lt=until, state__in=list(states))
    return dict(rows.values_list("state").annotate(n=Count(F("id"))))
