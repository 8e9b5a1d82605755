"""Verbs about jobs. One that is not there and one that is another tenant's are not found: the answer is the same."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from django.utils import timezone

from taskyard.enqueue import control_alias, existing_job, write
from taskyard.errors import DuplicateJob, NotFound, TaskyardError, UnknownTask, WrongState
from taskyard.execution import steering
from taskyard.execution.pruner import Pruner
from taskyard.jobs import detail, queries
from taskyard.jobs.detail import JobDetail
from taskyard.jobs.ids import new_id
from taskyard.jobs.models import Job
from taskyard.jobs.pages.find import find_children, find_page
from taskyard.jobs.pages.keyset import Page
from taskyard.jobs.queries import JobFilter, JobSummary
from taskyard.jobs.redaction import restored_arguments
from taskyard.jobs.rows.newjob import NewJob, as_job
from taskyard.jobs.states import FINAL, UNFINISHED, State
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.blind import blind_detail, blind_summary
from taskyard.operations.acting.entries import Deed, together, write_down
from taskyard.operations.acting.held import held_back
from taskyard.operations.acting.verbs import verb
from taskyard.operations.models import AuditEntry
from taskyard.settings import get_settings
from taskyard.tasks import registry
from taskyard.tasks.doors import door
from taskyard.tasks.payload import encode_arguments
from taskyard.tasks.unique import unique_key, unique_lock
from taskyard.tenancy.context import current_tenant

#: Jobs that one call may name; more are chosen by a filter (:mod:`taskyard.operations.bulk.order`).
MOST_NAMED = 1_000

ENDED = (State.FAILED.value, State.CANCELLED.value)
UNENDED = tuple(state.value for state in State if state in UNFINISHED)
FINISHED = tuple(state.value for state in State if state in FINAL)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of jobs that were named."""

    #: Those that exist for the actor.
    found: int
    #: Those that were changed; the others were not in a state for it.
    changed: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What a verb does to several jobs needs to know."""

    now: dt.datetime
    by: str = ""
    reason: str = ""
    #: Whose jobs alone; None: anybody's.
    tenant: str | None = None


#: Does something to the jobs of these ids, as far as their states allow it; how many it changed.
Act = Callable[[Sequence[uuid.UUID], Doing], int]


# -- looking -----------------------------------------------------------------------------------------------------------


@verb("job", "view_job", reads=True)
def list_(actor: Actor, wanted: JobFilter | None = None, *, limit: int = 100) -> list[JobSummary]:
    """The first jobs that a filter means, the newest first."""
    found = queries.list_jobs(scoped(actor, wanted or JobFilter()), limit=limit)
    return found if actor.sees_payload else [blind_summary(job) for job in found]


def page(
    actor: Actor, wanted: JobFilter | None = None, *, text: str = "", after: str = "", limit: int = 50
) -> Page[JobSummary]:
    """The same as a page of a list of any length, see :func:`taskyard.jobs.pages.find.find_page`."""
    actor.require("view_job")
    found = find_page(scoped(actor, wanted or JobFilter()), text=text, after=after, limit=limit)
    return found if actor.sees_payload else dataclasses.replace(found, rows=tuple(map(blind_summary, found.rows)))


@verb("job", "view_job", reads=True)
def show(actor: Actor, job_id: uuid.UUID) -> JobDetail:
    """Everything about one job, and why it waits."""
    how_held = functools.partial(held_back, is_operator=actor.is_for_all)
    found = detail.find_job(job_id, timezone.now(), held_back=how_held, tenant=actor.tenant)
    if found is None:
        raise NotFound("job", job_id)
    return found if actor.sees_payload else blind_detail(found)


def children(actor: Actor, detail: JobDetail, *, limit: int = 20) -> list[JobSummary]:
    """Some of the jobs that a job's attempts enqueued."""
    actor.require("view_job")
    found = find_children(detail.fields, tenant=actor.tenant, limit=limit)
    return found if actor.sees_payload else [blind_summary(job) for job in found]


def scoped(actor: Actor, wanted: JobFilter) -> JobFilter:
    """A filter that keeps to what exists for an actor; raises :class:`NotFound` for another tenant's name."""
    return dataclasses.replace(wanted, tenant=actor.within(wanted.tenant).tenant)


# -- acting on those that are named ------------------------------------------------------------------------------------


@verb("job", "retry_job", takes=ENDED)
def retry(actor: Actor, job_ids: Sequence[uuid.UUID], *, reason: str = "") -> Outcome:
    """Brings failed or cancelled jobs back, each with one more attempt."""
    return _do(actor, "retry", ids=job_ids, reason=reason)


@verb("job", "cancel_job", takes=UNENDED)
def cancel(actor: Actor, job_ids: Sequence[uuid.UUID], *, reason: str = "") -> Outcome:
    """Cancels jobs that have not ended; running ones are asked to stop."""
    return _do(actor, "cancel", ids=job_ids, reason=reason)


@verb("job", "discard_job", takes=(State.FAILED.value,))
def discard(actor: Actor, job_ids: Sequence[uuid.UUID], *, reason: str = "") -> Outcome:
    """Sets failed jobs aside as cancelled."""
    return _do(actor, "discard", ids=job_ids, reason=reason)


def _do(actor: Actor, name: str, *, ids: Sequence[uuid.UUID], reason: str) -> Outcome:
    wanted = list(dict.fromkeys(ids))
    if len(wanted) > MOST_NAMED:
        raise TaskyardError(f"{len(wanted):,} jobs are named, and {MOST_NAMED:,} may be: choose them by a filter.")
    with together():
        before = _stand(actor, wanted)
        doing = Doing(now=timezone.now(), by=actor.by, reason=reason, tenant=actor.tenant)
        changed = ACTS[name](wanted, doing)
        write_down(actor, "job", name, _deed(before, _stand(actor, wanted), changed, reason))
    return Outcome(len(before), changed)


def _stand(actor: Actor, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[str, str]]:
    rows = Job.objects.visible_to(actor.tenant).filter(id__in=ids).values_list("id", "tenant", "state")
    found = {job_id: (tenant, state) for job_id, tenant, state in rows}
    if not found:
        raise NotFound("job", ids[0] if ids else "of no id")
    return found


_Stand = Mapping[uuid.UUID, tuple[str, str]]


def _deed(before: _Stand, after: _Stand, changed: int, reason: str) -> Deed:
    tenants = {tenant for tenant, _ in before.values()}
    tenant = tenants.pop() if len(tenants) == 1 else ""
    if len(before) > 1:
        # Each of them by its id, so that its state then can be told from the state it is in.
        said = {"ids": [str(job_id) for job_id in before]}
        return Deed(target=f"{len(before):,} jobs", tenant=tenant, count=changed, said=said, reason=reason)
    [(job_id, (_, state))] = before.items()
    return Deed(
        target=str(job_id), tenant=tenant, count=changed, reason=reason, before={"state": state},
        after={"state": after[job_id][1]},
    )  # fmt: skip


# -- with other arguments, or once more --------------------------------------------------------------------------------


@verb("job", "edit_job", "view_payload", takes=ENDED)
def edit(
    actor: Actor, job_id: uuid.UUID, *, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
    reason: str = "",
) -> Outcome:  # fmt: skip
    """Changes the arguments of a job that failed or was cancelled, and retries it.

    What is not given stays. Both happen or neither: raises :class:`~taskyard.errors.WrongState` for a job that has
    not ended, :class:`~taskyard.errors.DuplicateJob` where the key that the new arguments make is held, and
    ``TypeError``, :class:`~taskyard.errors.NotJson` or :class:`~taskyard.errors.PayloadTooLarge` for arguments that
    the task does not take. Where they stand as they are shown, ``[redacted]``, secrets stay what they are; elsewhere
    that raises :class:`~taskyard.errors.StillHidden`. The audit says which arguments were changed, not what they were.
    """
    with together():
        job = _one(actor, job_id, ENDED, lock=True)
        new_args, new_kwargs, key = _checked(job, args, kwargs)
        Job.objects.filter(id=job.id).update(args=new_args, kwargs=new_kwargs, unique_key=key)
        if not steering.retry([job.id], timezone.now(), tenant=actor.tenant):
            raise _why_not(job, key)
        deed = Deed(
            target=str(job.id), tenant=job.tenant, before={"state": job.state}, after={"state": State.PENDING.value},
            said={"changed": _changed(job, new_args, new_kwargs)}, reason=reason,
        )  # fmt: skip
        write_down(actor, "job", "edit", deed)
    return Outcome(1, 1)


@verb("job", "enqueue_job", takes=FINISHED)
def copy(
    actor: Actor, job_id: uuid.UUID, *, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None,
    reason: str = "",
) -> Job:  # fmt: skip
    """Enqueues a new job like one that ended, which stays as it is.

    Of Celery's calls the arguments are copied, not what was to follow (links, chains, chords). Other arguments than
    the job's take the permissions of :func:`edit` as well. Raises as that does.
    """
    if args is not None or kwargs is not None:
        actor.require("edit_job")
        actor.require("view_payload")
    with together():
        job = _one(actor, job_id, FINISHED)
        new_args, new_kwargs, _ = _checked(job, args, kwargs)
        new = _copied(job, new_args, kwargs=new_kwargs, by=actor.by)
        if not write([new], control_alias()):
            raise DuplicateJob(existing_job(new, control_alias()))
        said = {"copy": str(new.id), "changed": _changed(job, new_args, new_kwargs)}
        write_down(actor, "job", "copy", Deed(target=str(job.id), tenant=job.tenant, said=said, reason=reason))
    return as_job(new, control_alias())


@verb("job", "enqueue_job")
def enqueue(actor: Actor, /, task: str, *, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Job:
    """Enqueues a job of a task that is declared here.

    ``options``: ``args``, and those of ``Task.using``; ``tenant`` is the actor's own where it has one, and only that.
    Raises what :meth:`Task.enqueue <taskyard.tasks.task.Task.enqueue>` does, and :class:`~taskyard.errors.UnknownTask`.
    """
    args = options.pop("args", ())
    owner = actor.within(options.pop("tenant", None)).tenant
    owner = current_tenant() if owner is None else owner
    _declared(task)
    call = registry.get(task).using(**{**options, "created_by": actor.by}, tenant=owner, database=control_alias())
    with together():
        job: Job = call.enqueue(*args, **(kwargs or {}))
        said = {"task": task, "created": job.created}
        write_down(actor, "job", "enqueue", Deed(target=str(job.id), tenant=job.tenant, count=job.created, said=said))
    return job


def _declared(name: str) -> Any:
    """The task of that name, or None; a web process has imported none that nobody called there."""
    door("load_tasks")()
    return registry.find(name)


def _one(actor: Actor, job_id: uuid.UUID, states: Sequence[str], *, lock: bool = False) -> Job:
    rows = Job.objects.visible_to(actor.tenant).filter(id=job_id)
    job: Job | None = (rows.select_for_update() if lock else rows).first()
    if job is None:
        raise NotFound("job", job_id)
    if job.state not in states:
        raise WrongState("job", job_id, f"it is {job.state}, and must be {' or '.join(states)}")
    return job


def _checked(
    job: Job, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> tuple[list[Any], dict[str, Any], str | None]:
    """The arguments of a call like that of the job, and their unique key."""
    new_args = list(job.args if args is None else args)
    new_kwargs = dict(job.kwargs if kwargs is None else kwargs)
    if args is None and kwargs is None:
        return new_args, new_kwargs, job.unique_key
    # Whoever edits was shown them without their secrets.
    new_args, new_kwargs = restored_arguments(job.task, args=new_args, kwargs=new_kwargs, stored=(job.args, job.kwargs))
    encode_arguments(job.task, new_args, new_kwargs, get_settings().max_payload_bytes)
    task = _declared(job.task)
    if task is None:
        return new_args, new_kwargs, job.unique_key
    try:
        bound = task.signature.bind(*new_args, **new_kwargs)
    except TypeError as error:
        raise TypeError(f"{job.task}{task.signature}: {error}") from None
    bound.apply_defaults()
    unique = task.options.unique
    return new_args, new_kwargs, unique_key(job.task, unique, bound.arguments) if unique else None


def _why_not(job: Job, key: str | None) -> TaskyardError:
    lock = unique_lock(job.task, job.tenant, key) if key is not None else None
    holder = Job.objects.filter(unique_lock=lock).first() if lock else None
    if holder is not None:
        return DuplicateJob(holder)
    return WrongState("job", job.id, "the step of its chain before it did not succeed: retry that one")


def _changed(job: Job, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """Names of the arguments that are others, or their places."""
    nothing = object()
    pairs = enumerate(zip_longest(job.args, args, fillvalue=nothing))
    names = [name for name in {**job.kwargs, **kwargs} if job.kwargs.get(name, nothing) != kwargs.get(name, nothing)]
    return [str(place) for place, (old, new) in pairs if old != new] + names


def _copied(job: Job, args: Sequence[Any], *, kwargs: Mapping[str, Any], by: str) -> NewJob:
    task, now = _declared(job.task), timezone.now()
    texts = json.dumps(args), json.dumps(kwargs)
    if task is None:
        new: NewJob = _celery_call(job)
    else:
        new = NewJob(
            id=new_id(), task=job.task, queue=job.queue, created_at=now, available_at=now,
            max_attempts=task.options.retry.max_retries + 1,
        )  # fmt: skip
        if task.options.unique:
            new.unique_key = _checked(job, args, kwargs)[2]
            new.unique_lock = unique_lock(job.task, job.tenant, str(new.unique_key))
    said = ("tenant", "queue", "priority", "soft_time_limit", "time_limit", "subject_type", "subject_id")
    return dataclasses.replace(
        new, args=texts[0], kwargs=texts[1], created_by=by, root=new.id, parent=None,
        tags=json.dumps(job.tags) if job.tags else None, **{name: getattr(job, name) for name in said},
    )  # fmt: skip


def _celery_call(job: Job) -> NewJob:
    try:
        new: NewJob = door("celery_job")(
            job.task, job.args, kwargs=job.kwargs, tenant=job.tenant, options={"queue": job.queue}
        )
    except UnknownTask as error:
        raise WrongState("job", job.id, str(error)) from error
    return new


# -- deleting ----------------------------------------------------------------------------------------------------------


@verb("job", "prune_job", takes=FINISHED)
def prune(actor: Actor, until: Mapping[str, dt.datetime], *, reason: str = "") -> dict[str, int]:
    """Deletes jobs that ended long ago: of each final state those that ended before a time; how many of each.

    In batches, each for itself: one that is interrupted has deleted what its audit entry counts.
    """
    odd = sorted(set(until) - set(FINISHED))
    if odd:
        raise TaskyardError(f"Jobs that are {odd[0]} are not deleted: only {', '.join(FINISHED)} ones are.")
    before = {state: moment.isoformat() for state, moment in until.items()}
    counts, pruner = dict.fromkeys(until, 0), Pruner()
    target = "jobs that ended long ago"
    deed = Deed(target=target, tenant=actor.tenant or "", count=0, said={"before": before}, reason=reason)
    entry = write_down(actor, "job", "prune", deed)
    rows = AuditEntry.objects.filter(pk=entry.pk)
    for state, moment in until.items():
        while True:
            with together():
                deleted = pruner.prune(state, moment, tenant=actor.tenant)
                counts[state] += deleted
                rows.update(count=sum(counts.values()), after={"deleted": counts})
            if not deleted:
                break
    return counts


@verb("job", "prune_job", reads=True)
def count_prunable(actor: Actor, until: Mapping[str, dt.datetime]) -> dict[str, int]:
    """How many jobs of each state :func:`prune` would delete."""
    found = {state: queries.count_final([state], moment, tenant=actor.tenant) for state, moment in until.items()}
    return {state: counts.get(state, 0) for state, counts in found.items()}


# -- what is done to several at a time ---------------------------------------------------------------------------------


def _retry(ids: Sequence[uuid.UUID], doing: Doing) -> int:
    return steering.retry(ids, doing.now, tenant=doing.tenant)


def _cancel(ids: Sequence[uuid.UUID], doing: Doing) -> int:
    return steering.cancel(ids, doing.now, message=doing.reason, tenant=doing.tenant)


def _discard(ids: Sequence[uuid.UUID], doing: Doing) -> int:
    return steering.discard(ids, doing.now, message=doing.reason, tenant=doing.tenant)


#: By the name of the verb: done to named jobs here, and to chosen ones in :mod:`taskyard.operations.bulk`.
ACTS: dict[str, Act] = {"retry": _retry, "cancel": _cancel, "discard": _discard}
