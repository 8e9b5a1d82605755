"""A decision and its job, written together; what becomes of one whose job is not wanted beside an earlier one."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import Error, transaction

from taskyard import enqueue
from taskyard.enqueue import control_alias
from taskyard.enqueue.row import new_job
from taskyard.errors import TaskyardError
from taskyard.jobs.models import Job
from taskyard.jobs.rows.newjob import NewJob, is_tenant_name
from taskyard.jobs.states import State
from taskyard.outbox.models import TenantSetting
from taskyard.schedules.decisions import Decision, Overlap, Verdict
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.models import Occurrence, Schedule
from taskyard.settings import get_settings
from taskyard.tasks import registry
from taskyard.tasks.doors import door
from taskyard.tasks.task import Task
from taskyard.tasks.unique import unique_lock
from taskyard.tenancy.context import get_tenancy
from taskyard.tenancy.tenancy import Listed

#: Most due times of one schedule that wait for the job before them.
MOST_BUFFERED = 1_000


@dataclasses.dataclass(slots=True)
class Firing:
    """One decision, with the job it brings if it fires."""

    occurrence: Occurrence
    definition: Definition
    job: NewJob | None = None
    #: One job for each of several tenants: what they are made of, a declared task or the row that each begins as.
    pattern: Task[Any, Any] | NewJob | None = None


def plan(row: Schedule, definition: Definition, *, verdict: Verdict, offset: dt.timedelta, now: dt.datetime) -> Firing:
    """The rows of a verdict, not written yet; raises for a job that cannot be made."""
    occurrence = Occurrence(
        schedule=row, tenant=row.tenant, due_at=verdict.due.at - offset, effective_at=verdict.due.at,
        mark=verdict.due.mark, decided_at=now, decision=verdict.decision.value, reason=verdict.reason,
        version=row.version,
    )  # fmt: skip
    if verdict.decision != Decision.FIRED:
        return Firing(occurrence, definition)
    if definition.tenants is not None:
        if definition.tenants == "each":
            get_tenancy()
        return Firing(occurrence, definition, pattern=_pattern(row, definition, now))
    job = _job(row, definition, now)
    occurrence.job = job.id
    return Firing(occurrence, definition, job)


def _job(row: Schedule, definition: Definition, now: dt.datetime) -> NewJob:
    job = _called(row, definition, now)
    job.subject_type, job.subject_id = definition.subject
    if job.unique_lock is None and definition.overlap != Overlap.ALLOW:
        job.unique_key = _key(row)
        job.unique_lock = unique_lock(job.task, job.tenant, job.unique_key)
    return job


def _called(row: Schedule, definition: Definition, now: dt.datetime) -> NewJob:
    task = _declared(definition)
    if task is None:
        return _called_by_celery(row, definition, now)
    task = task.using(queue_name=row.queue or None, priority=row.priority, tenant=row.tenant, created_by=_creator(row))
    return new_job(task, tuple(definition.args), kwargs=definition.kwargs, now=now)


def _pattern(row: Schedule, definition: Definition, now: dt.datetime) -> Task[Any, Any] | NewJob:
    task = _declared(definition)
    if task is not None:
        return task.using(
            queue_name=row.queue or None, priority=row.priority, created_by=_creator(row) or None
        )  # fmt: skip
    job = _called_by_celery(row, definition, now)
    # Each of them is the root of what follows from it.
    job.created_by, job.root = _creator(row), job.root if job.parent else None
    return job


def _declared(definition: Definition) -> Task[Any, Any] | None:
    """The task as ``@task`` declared it; None for one of Celery's, and where the message is to have options."""
    return None if definition.options else registry.find(definition.task)


def _called_by_celery(row: Schedule, definition: Definition, now: dt.datetime) -> NewJob:
    options = {**definition.options, "queue": definition.queue or None, "priority": definition.priority}
    if isinstance(options.get("expires"), (int, float)):
        options["expires"] = (now + dt.timedelta(seconds=options["expires"])).isoformat()
    options = {name: value for name, value in options.items() if value is not None}
    job: NewJob = door("celery_job")(
        definition.task, tuple(definition.args), kwargs=dict(definition.kwargs), tenant=row.tenant, options=options
    )
    job.created_at = job.available_at = now
    job.created_by = _creator(row)
    return job


def _creator(row: Schedule) -> str:
    return get_settings().schedule_user or row.created_by


def refuse_unknown(row: Schedule, definition: Definition, now: dt.datetime) -> None:
    """Raises :class:`~taskyard.errors.UnknownTask` if nobody knows the task, and nothing says who else might."""
    if _declared(definition) is None:
        _called_by_celery(row, definition, now)


def write(firings: Sequence[Firing], now: dt.datetime) -> int:
    """Write decisions and jobs in the caller's transaction; how many decisions."""
    if not firings:
        return 0
    alias = control_alias()
    occurrences = Occurrence.objects.using(alias).bulk_create([f.occurrence for f in firings])
    _find_ids(occurrences)
    wanted = [f for f in firings if f.job is not None]
    for each in wanted:
        assert each.job is not None
        each.job.occurrence = each.occurrence.pk
    written = enqueue.write([f.job for f in wanted if f.job is not None], alias) if wanted else set()
    for each in wanted:
        assert each.job is not None
        if each.job.id not in written:
            _stand_back(each, now)
    for each in firings:
        if each.pattern is not None:
            _fan_out(each, now)
    return len(firings)


def _fan_out(each: Firing, now: dt.datetime) -> None:
    """A job for each tenant; one that is paused or not ready has a decision of its own instead.

    All of it is written or nothing: a listing of the project's own that breaks off makes the due time ``errored``.
    """
    occurrence = each.occurrence
    try:
        with transaction.atomic(using=control_alias()):
            occurrence.jobs, occurrence.reason = _jobs_of_tenants(each, now)
    except Error:
        # The transaction is broken, or the database away: nothing can be written here.
        raise
    except Exception as error:
        text = str(error) if isinstance(error, TaskyardError) else f"{type(error).__name__}: {error}"
        occurrence.decision, occurrence.reason = Decision.ERRORED.value, text[:500]
    occurrence.save(using=control_alias(), update_fields=["decision", "jobs", "reason"])


def _jobs_of_tenants(each: Firing, now: dt.datetime) -> tuple[int, str]:
    """How many jobs were written, and what is to be said about the others."""
    definition, occurrence = each.definition, each.occurrence
    sieve = _Sieve(occurrence)
    assert each.pattern is not None
    report = enqueue.enqueue_occurrence(
        each.pattern, definition.kwargs, tenants=sieve.let_through(_tenants(definition)), spread=definition.spread,
        now=now,
        due=enqueue.DueTime(occurrence.pk, None if definition.overlap == Overlap.ALLOW else _key(occurrence.schedule)),
    )  # fmt: skip
    said = [occurrence.reason] if occurrence.reason else []
    if report.duplicates:
        said.append(f"left out because an earlier job has not ended: {report.duplicates}")
    if report.rejected:
        said.append(f"refused: {len(report.rejected)}, the first because {report.rejected[0].reason}")
    return report.created, "; ".join(said)[:500]


def _tenants(definition: Definition) -> Iterable[Listed]:
    """Those that are named: whoever is not ready among them has a job that waits. Else all that are known."""
    if definition.tenants == "each":
        return get_tenancy().listed()
    return map(Listed, definition.tenants or ())


class _Sieve:
    """Lets the tenants through that are to have a job, and writes decisions about the others, some hundreds at a time.

    So memory does not grow with the tenants. Nothing else is being written while tenants are asked for.
    """

    def __init__(self, occurrence: Occurrence) -> None:
        self.occurrence = occurrence
        own = Occurrence.objects.filter(schedule=occurrence.schedule_id, due_at=occurrence.due_at)
        #: Who had a job of this due time alone, by a back-fill.
        self._done = set(own.filter(decision=Decision.FIRED.value).exclude(tenant="").values_list("tenant", flat=True))
        self._paused = dict(TenantSetting.objects.paused().values_list("pk", "reason"))
        self._held: list[Occurrence] = []

    def let_through(self, tenants: Iterable[Listed]) -> Iterator[str]:
        for name, why_not in tenants:
            reason = f"tenant not ready: {why_not}" if why_not else self._why_paused(name)
            # A name that no row can have is passed on: it is refused, and counted, where jobs are made.
            if reason and name and is_tenant_name(name):
                self._hold(name, reason)
            elif name not in self._done:
                yield name
        self._write()

    def _why_paused(self, name: str) -> str:
        return f"tenant paused: {self._paused[name]}".rstrip(": ") if name in self._paused else ""

    def _hold(self, name: str, reason: str) -> None:
        whole = self.occurrence
        self._held.append(
            Occurrence(
                schedule=whole.schedule, tenant=name, due_at=whole.due_at, effective_at=whole.effective_at,
                mark=whole.mark, decided_at=whole.decided_at, decision=Decision.SUPPRESSED.value, reason=reason[:500],
                version=whole.version,
            )
        )  # fmt: skip
        if len(self._held) >= enqueue.CHUNK:
            self._write()

    def _write(self) -> None:
        # One that is listed twice is decided about once.
        Occurrence.objects.using(control_alias()).bulk_create(self._held, ignore_conflicts=True)
        self._held.clear()


def _key(row: Schedule) -> str:
    return f"schedule:{row.pk}"


def _find_ids(occurrences: Sequence[Occurrence]) -> None:
    """MySQL does not tell the keys of what it has written."""
    for occurrence in occurrences:
        known: int | None = occurrence.pk
        if known is None:
            occurrence.pk = Occurrence.objects.get(
                schedule_id=occurrence.schedule_id, due_at=occurrence.due_at, tenant=occurrence.tenant
            ).pk


def _stand_back(each: Firing, now: dt.datetime) -> None:
    """The job of an earlier due time has not ended: the overlap policy says what becomes of this one."""
    job = each.job
    assert job is not None
    overlap = each.definition.overlap
    holder = Job.objects.filter(unique_lock=job.unique_lock)
    waiting = Occurrence.objects.buffered().filter(lock=job.unique_lock)
    if overlap == Overlap.REPLACE_PENDING:
        _replace(each, list(holder.values_list("id", "state")), now)
        return
    if overlap == Overlap.CANCEL_RUNNING:
        waiting.update(decision=Decision.SKIPPED.value, lock=None, reason="a later one took its place")
        door("cancel")(list(holder.values_list("id", flat=True)), now, reason="replaced by its schedule")
    most = {Overlap.BUFFER_ONE: 1, Overlap.CANCEL_RUNNING: 1, Overlap.BUFFER_ALL: MOST_BUFFERED}.get(overlap, 0)
    if most and waiting.count() < most:
        _note(each, Decision.BUFFERED, "waits for an earlier job to end", lock=job.unique_lock)
    else:
        _note(each, Decision.SKIPPED, f"{most} wait already" if most else "an earlier job has not ended")


def _replace(each: Firing, holders: Iterable[tuple[uuid.UUID, str]], now: dt.datetime) -> None:
    if any(state == State.RUNNING.value for _, state in holders):
        _note(each, Decision.SKIPPED, "an earlier job runs")
        return
    door("cancel")([job_id for job_id, _ in holders], now, reason="replaced by its schedule")
    if each.job is not None and not enqueue.write([each.job], control_alias()):
        _note(each, Decision.SKIPPED, "an earlier job has not ended")


def _note(each: Firing, decision: Decision, reason: str, *, lock: str | None = None) -> None:
    occurrence = each.occurrence
    occurrence.decision, occurrence.reason, occurrence.lock, occurrence.job = decision.value, reason, lock, None
    occurrence.save(using=control_alias(), update_fields=["decision", "reason", "lock", "job"])


def fire_buffered(occurrences: Sequence[Occurrence], now: dt.datetime) -> int:
    """Fire what waited, as its schedule says now, in the caller's transaction; how many."""
    fired = 0
    rows = {row.pk: row for row in Schedule.objects.filter(pk__in={o.schedule_id for o in occurrences})}
    for occurrence in occurrences:
        row = rows[occurrence.schedule_id]
        try:
            if not row.enabled or row.is_paused(now):
                occurrence.decision, occurrence.lock = Decision.SUPPRESSED.value, None
                occurrence.reason = "paused while it waited" if row.enabled else "disabled while it waited"
                occurrence.save(using=control_alias())
            else:
                fired += _fire(occurrence, row, now)
        except TaskyardError as error:
            occurrence.decision, occurrence.lock, occurrence.reason = Decision.ERRORED.value, None, str(error)[:500]
            occurrence.save(using=control_alias())
    return fired


def _fire(occurrence: Occurrence, row: Schedule, now: dt.datetime) -> int:
    job = _job(row, Definition.of(row), now)
    job.occurrence = occurrence.pk
    if not enqueue.write([job], control_alias()):
        return 0
    occurrence.decision, occurrence.lock, occurrence.job = Decision.FIRED.value, None, job.id
    occurrence.effective_at, occurrence.version = now, row.version
    occurrence.reason = "had waited for an earlier job"
    occurrence.save(using=control_alias())
    return 1
