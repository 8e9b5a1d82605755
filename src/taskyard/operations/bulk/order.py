"""What somebody asks for over many jobs: counted first, then done here, or by a job of our own that can be aborted."""

from __future__ import annotations

import dataclasses
import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.utils import timezone

from taskyard.enqueue import control_alias, write
from taskyard.enqueue.row import new_job
from taskyard.errors import TaskyardError
from taskyard.jobs.models import Job
from taskyard.jobs.queries import JobFilter, JobSummary
from taskyard.jobs.rows.newjob import as_job
from taskyard.operations import jobs
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.entries import Deed, together, write_down
from taskyard.operations.acting.verbs import Verb, find_verb
from taskyard.operations.bulk.run import Run
from taskyard.operations.bulk.selection import Selection, narrowed
from taskyard.operations.bulk.task import operate
from taskyard.operations.models import AuditEntry

#: Most jobs that a preview counts, and that it names.
MOST_COUNTED, _NAMED = 10_000, 20


@dataclasses.dataclass(frozen=True, slots=True)
class Preview:
    """What an order would be about, as things stand."""

    count: int
    #: Whether there are more than were counted.
    is_more: bool
    #: The first of them.
    sample: list[JobSummary]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A verb, and the jobs it is for."""

    kind: str
    verb: str
    #: A key of :data:`taskyard.operations.jobs.ACTS`.
    act: str
    target: str
    selection: Selection
    #: Most jobs a second; None: as fast as it goes.
    rate: float | None = None
    reason: str = ""


def order(actor: Actor, name: str, wanted: JobFilter, *, rate: float | None = None, reason: str = "") -> Order:
    """To ``retry``, ``cancel`` or ``discard`` the jobs that a filter means; nothing is done yet.

    Raises :class:`~taskyard.errors.NotAllowed`, and :class:`~taskyard.errors.NotFound` for another tenant's name.
    """
    if name not in jobs.ACTS:
        raise TaskyardError(f"{name!r} is for one job at a time; for many: {', '.join(jobs.ACTS)}.")
    asked: Verb = find_verb("job", name)
    for each in asked.permissions:
        actor.require(each)
    selection = selected(jobs.scoped(actor, wanted), asked.takes)
    return Order(
        kind="job", verb=name, act=name, target=_in_words(wanted), selection=selection, rate=checked_rate(rate),
        reason=reason,
    )  # fmt: skip


def checked_rate(rate: float | None) -> float | None:
    """The same; raises :class:`~taskyard.errors.TaskyardError` for one that means nothing."""
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise TaskyardError(f"rate={rate!r}: it must be a number of jobs a second above zero.")
    return rate


def selected(wanted: JobFilter, states: tuple[str, ...]) -> Selection:
    """The jobs that a filter means, as far as they are in one of these states, now."""
    return Selection(wanted=wanted, states=narrowed(states, wanted), at=timezone.now())


def _in_words(wanted: JobFilter) -> str:
    said = {name: value for name, value in dataclasses.asdict(wanted).items() if value not in ((), "", None)}
    parts = [f"{name} {' or '.join(value) if isinstance(value, tuple) else value}" for name, value in said.items()]
    return f"jobs: {', '.join(parts) or 'all'}"


def preview(actor: Actor, asked: Order) -> Preview:
    """How many jobs it is about, up to 10,000, and the first of them."""
    count = asked.selection.count(MOST_COUNTED + 1)
    meant = dataclasses.replace(asked.selection.wanted, states=asked.selection.states)
    sample = jobs.list_(actor, meant, limit=_NAMED) if meant.states and actor.may("view_job") else []
    return Preview(min(count, MOST_COUNTED), count > MOST_COUNTED, sample)


def start(actor: Actor, asked: Order) -> Job:
    """Have it done by a job of our own, which shows its progress and is aborted by cancelling it; that job.

    It runs in the default queue before everything else, and belongs to the actor's tenant. One audit entry says what
    was asked for and, batch by batch, how many jobs were changed. Where a worker is killed it goes on where it was.
    The permission is asked for again before each batch, and whether the token that it was asked by was revoked.
    """
    with together():
        entry = _written(actor, asked)
        call = operate.using(tenant=actor.tenant or "", created_by=actor.by)
        new = new_job(call, (), kwargs={"entry": entry.pk}, now=timezone.now())
        # Before the job is there: it may run at once (CELERY_TASK_ALWAYS_EAGER).
        AuditEntry.objects.filter(pk=entry.pk).update(job=new.id)
        write([new], control_alias())
    return as_job(new, control_alias())


def entry_of(actor: Actor, job_id: uuid.UUID) -> AuditEntry | None:
    """What a job that carries an order out was asked for; None for any other job, and for another tenant's."""
    rows = Job.objects.visible_to(actor.tenant).filter(id=job_id, task=operate.name)
    kwargs = rows.values_list("kwargs", flat=True).first()
    if not kwargs:
        return None
    return AuditEntry.objects.filter(pk=kwargs.get("entry"), job=job_id).first()


@contextmanager
def here(actor: Actor, asked: Order) -> Iterator[Run]:
    """Have it done by whoever goes through ``run.steps()``; leaving by an exception is an abort."""
    run = Run.of(_written(actor, asked))
    how = "aborted"
    try:
        yield run
        how = "done"
    finally:
        run.close(how)


def done_here(actor: Actor, asked: Order) -> int:
    """Have all of it done here and now; how many jobs were changed."""
    with here(actor, asked) as run:
        for _ in run.steps():
            pass
    return run.changed


def _written(actor: Actor, asked: Order) -> AuditEntry:
    said = {**asked.selection.to_json(), "act": asked.act, "rate": asked.rate, "permission": _permission(asked)}
    if actor.token:
        said["token"] = actor.token
    tenant = asked.selection.wanted.tenant or ""
    deed = Deed(target=asked.target, tenant=tenant, count=0, said=said, reason=asked.reason)
    return write_down(actor, asked.kind, asked.verb, deed)


def _permission(asked: Order) -> str:
    return find_verb(asked.kind, asked.verb).permission
