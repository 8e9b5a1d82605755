"""The one way in: a call becomes a row in the caller's transaction, and the feeder is woken after it commits."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import itertools
import json
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from taskyard import events
from taskyard.errors import (
    ConfigurationError,
    DuplicateJob,
    InvalidName,
    InvalidTask,
    PayloadError,
    TaskyardError,
    UnknownQueue,
)
from taskyard.jobs.current import find_current_job
from taskyard.jobs.ids import new_id, new_id_texts
from taskyard.jobs.models import Job
from taskyard.jobs.rows import copying, newjob
from taskyard.jobs.rows.copying import Copied
from taskyard.jobs.rows.newjob import NewJob
from taskyard.jobs.rows.sql import Sql
from taskyard.runtime.wakeup import WORK_WRITTEN, wake
from taskyard.settings import get_settings
from taskyard.tasks import registry
from taskyard.tasks.doors import door
from taskyard.tasks.payload import encode_arguments
from taskyard.tasks.task import CallOptions, Task
from taskyard.tasks.unique import names_only, unique_key, unique_lock

#: Rows of one INSERT of ``enqueue_many``.
CHUNK = min(500, newjob.MAX_ROWS)
#: Rows of one COPY of ``enqueue_many``, where the database has that.
COPY_CHUNK = 5_000

_PLASTIC = 0.6180339887498949


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """A call that ``enqueue_many`` did not write."""

    index: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class EnqueueReport:
    """What ``enqueue_many`` did: counts, and each rejected call with its position and reason."""

    created: int
    duplicates: int
    rejected: tuple[Rejected, ...]


def enqueue(task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job:
    """Write the job of one call; see :meth:`taskyard.tasks.task.Task.enqueue` for the guarantee."""
    alias = control_alias(task.call.database)
    new = _new_job(task, args, kwargs, timezone.now())
    if write([new], alias, are_fresh=True):
        return newjob.as_job(new, alias)
    return existing_job(new, alias)


def existing_job(new: NewJob, alias: str) -> Job:
    """The unfinished job that kept ``new`` from being written; ``new`` itself if it could be written after all.

    Raises :class:`DuplicateJob` if the task says so.
    """
    while True:
        job: Job | None = Job.objects.using(alias).filter(Q(unique_lock=new.unique_lock) | Q(id=new.id)).first()
        if job is not None:
            job.created = False
            task = registry.find(new.task)
            if task is not None and task.options.on_duplicate == "raise":
                raise DuplicateJob(job)
            return job
        # The holder ended between our INSERT and our look: the key is free again.
        if write([new], alias):
            return newjob.as_job(new, alias)


async def aenqueue(task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job:
    """:func:`enqueue` for async code."""
    job: Job = await sync_to_async(enqueue, thread_sensitive=True)(task, args, kwargs)
    return job


def enqueue_many(
    task: Task[Any, Any], calls: Iterable[Mapping[str, Any]], *, spread: dt.timedelta | None = None
) -> EnqueueReport:
    """Write a job for each mapping of keyword arguments, all in one transaction, in flat memory.

    With ``spread`` the jobs become due evenly over that time. A call that cannot be written (not JSON, too large,
    wrong arguments) is reported and left out; the others are written. Keys of one chunk are written in sorted order,
    so that two concurrent calls with the same keys wait for each other instead of deadlocking within a chunk.
    """
    alias = control_alias(task.call.database)
    many = _Many(task, timezone.now(), spread)
    with transaction.atomic(using=alias):
        if copying.can_copy(Sql(alias)) and not events.job_enqueued.receivers and not door("is_eager")():
            created = _copy(many, calls, alias)
        else:
            created = _insert(many, calls, alias)
    return EnqueueReport(created, many.total - created, tuple(many.rejected))


class _Many:
    """The calls of one ``enqueue_many``: what is the same in all of them is made once."""

    def __init__(self, task: Task[Any, Any], now: dt.datetime, spread: dt.timedelta | None) -> None:
        self.task, self.spread = task, spread
        self.template = _template(task, now)
        self.limit = get_settings().max_payload_bytes
        self.rejected: list[Rejected] = []
        #: Calls looked at, and those of them that could be written.
        self.seen = self.total = 0

    def rows(self, calls: Sequence[Mapping[str, Any]]) -> Iterator[Copied]:
        """The row of each call that can be written; the others are noted."""
        for job_id, kwargs in zip(new_id_texts(len(calls)), calls, strict=True):
            index = self.seen
            self.seen += 1
            try:
                payload, key, lock = _payload(self.task, (), kwargs, self.template.tenant, self.limit)
            except (PayloadError, InvalidName, TypeError) as error:
                self.rejected.append(Rejected(index, str(error)))
                continue
            available_at = self.template.available_at
            if self.spread:
                # Multiples of the golden ratio fill the window evenly however many come (Weyl's equidistribution).
                available_at += self.spread * ((index * _PLASTIC) % 1.0)
            self.total += 1
            yield Copied(job_id, payload[1], available_at, key, lock)


def _copy(many: _Many, calls: Iterable[Mapping[str, Any]], alias: str) -> int:
    copier = copying.Copier(Sql(alias), many.template, is_unique=bool(many.task.options.unique))
    # The calls of a chunk are all taken before anything is written, and a key of the project's own making is made
    # then too: both may ask the same connection.
    is_quiet = not callable(many.task.options.unique)
    chunks, created = _chunks(iter(calls), COPY_CHUNK), 0
    chunk = next(chunks, None)
    rows = list(many.rows(chunk or []))
    while chunk is not None:
        chunk = next(chunks, None)
        upcoming: list[Copied] = []
        coming = map(upcoming.append, many.rows(chunk or []))
        created += copier.write(rows, meanwhile=coming if is_quiet else iter(())) if rows else 0
        deque(coming, maxlen=0)
        rows = upcoming
    if created:
        transaction.on_commit(_wake_feeder, using=alias)
    return created


def _insert(many: _Many, calls: Iterable[Mapping[str, Any]], alias: str) -> int:
    created = 0
    for chunk in _chunks(iter(calls), CHUNK):
        new = [copying.as_new_job(many.template, row) for row in sorted(many.rows(chunk), key=_by_lock)]
        created += len(write(new, alias)) if new else 0
    return created


def _by_lock(row: Copied) -> str:
    return row.unique_lock or ""


def _chunks(calls: Iterator[Mapping[str, Any]], size: int) -> Iterator[list[Mapping[str, Any]]]:
    while chunk := list(itertools.islice(calls, size)):
        yield chunk


def write(jobs: Sequence[NewJob], alias: str, *, are_fresh: bool = False) -> set[uuid.UUID]:
    """Insert rows in the caller's transaction and see to it that they are fed after its commit; the new ids."""
    written = newjob.insert(Sql(alias), jobs, are_fresh=are_fresh)
    awaited = [job for job in jobs if job.id not in written and job.unique_lock and _is_awaited(job)]
    if awaited:
        written |= _refuse_aloud(awaited, alias)
    if not written:
        return written
    if events.job_enqueued.receivers:
        for job in jobs:
            if job.id in written:
                events.job_enqueued.send_robust(Job, job_id=job.id, task=job.task, queue=job.queue, tenant=job.tenant)
    set_off([job.id for job in jobs if job.id in written], alias)
    return written


def _is_awaited(job: NewJob) -> bool:
    """Whether a canvas waits for this very job: one that is merely not written would keep it waiting for ever."""
    message = json.loads(job.message) if job.message else {}
    return bool(message.get("embed") or message.get("headers", {}).get("group"))


def _refuse_aloud(jobs: Sequence[NewJob], alias: str) -> set[uuid.UUID]:
    error = json.dumps({"type": "Cancelled", "message": "its unique key is held", "reason": "duplicate"})
    ended = [
        dataclasses.replace(job, unique_lock=None, state="cancelled", finished_at=job.created_at, error=error)
        for job in jobs
    ]
    written = newjob.insert(Sql(alias), ended)
    door("tell_canvases")(list(written), "duplicate")
    return written


def set_off(job_ids: Sequence[uuid.UUID], alias: str) -> None:
    """See to it that a feeder looks once the current transaction has committed; in eager mode, run the jobs."""
    if door("is_eager")():
        door("run_eagerly")(job_ids, alias)
    else:
        transaction.on_commit(_wake_feeder, using=alias)


def _wake_feeder() -> None:
    wake(WORK_WRITTEN)


def control_alias(asked: str | None = None) -> str:
    """The alias jobs are written to; refuses another one, whose transactions a job cannot be part of."""
    control = get_settings().database
    if asked not in (None, control):
        raise ConfigurationError(
            [f"database={asked!r}: jobs live in {control!r} (TASKYARD['DATABASE']); enqueue in a transaction of that."]
        )
    return control


def resolve_queue(name: str | None, task: str) -> str:
    """The logical queue of a call: as named, else by the project's routes; raises :class:`UnknownQueue`."""
    queue: str = name or door("route")(task)
    settings = get_settings()
    if settings.queues and queue not in {*settings.queues, *settings.handover, door("default_queue")()}:
        raise UnknownQueue(queue, list(settings.queues))
    return queue


def _new_job(task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], now: dt.datetime) -> NewJob:
    new = _template(task, now)
    (new.args, new.kwargs), new.unique_key, new.unique_lock = _payload(
        task, args, kwargs, new.tenant, get_settings().max_payload_bytes
    )
    new.root = new.root or new.id
    return new


def _template(task: Task[Any, Any], now: dt.datetime) -> NewJob:
    """The row of a call, but for its arguments."""
    options, call = task.options, task.call
    if not options.tracked:
        raise InvalidTask(task.name, "it is declared tracked=False and has no jobs: call .delay() or .apply_async()")
    running = find_current_job()
    new = NewJob(
        id=new_id(), task=task.name, queue=resolve_queue(call.queue_name or options.queue, task.name),
        created_at=now, available_at=run_time(call.run_after, now),
        tenant=call.tenant or (running.tenant if running else ""),
        priority=options.priority if call.priority is None else call.priority,
        max_attempts=options.retry.max_retries + 1,
        soft_time_limit=seconds(options.soft_time_limit), time_limit=seconds(options.time_limit),
        parent=running.id if running else None, root=running.root if running else None,
        **_about(call),
    )  # fmt: skip
    newjob.refuse_odd_names(new)
    return new


def _payload(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], tenant: str, limit_bytes: int
) -> tuple[tuple[str, str], str | None, str | None]:
    """Arguments as JSON texts, the unique key and its lock; raises for what the task does not take."""
    unique = task.options.unique
    given = kwargs
    if args or not task.accepts(kwargs) or not names_only(unique, kwargs):
        given = _bind(task, args, kwargs).arguments
    texts = encode_arguments(task.name, args, kwargs, limit_bytes)
    if not unique:
        return texts, None, None
    key = unique_key(task.name, unique, given)
    newjob.refuse_odd_key(key)
    return texts, key, unique_lock(task.name, tenant, key)


def _bind(task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    try:
        bound = task.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{task.name}{task.signature}: {error}") from None
    bound.apply_defaults()
    return bound


def _about(call: CallOptions) -> dict[str, Any]:
    about: dict[str, Any] = {}
    if call.subject is not None:
        if call.subject.pk is None:
            raise TaskyardError(f"subject={call.subject!r} is not saved yet: save it first, a job refers to its key.")
        about.update(subject_type=call.subject._meta.label_lower, subject_id=str(call.subject.pk))
    if call.created_by is not None:
        by = call.created_by
        about["created_by"] = str(by.pk if isinstance(by, models.Model) else by)
    if call.tags:
        about["tags"] = json.dumps(list(call.tags))
    return about


def run_time(run_after: dt.datetime | dt.timedelta | None, now: dt.datetime) -> dt.datetime:
    """When a call may run; a naive datetime is refused, because nobody knows which instant it means."""
    if run_after is None:
        return now
    if isinstance(run_after, dt.timedelta):
        return now + run_after
    if timezone.is_naive(run_after):
        raise TaskyardError(f"run_after={run_after!r} has no time zone: pass an aware datetime, or a timedelta.")
    return run_after


def seconds(limit: dt.timedelta | None) -> float | None:
    """A duration as the seconds a column holds."""
    return None if limit is None else limit.total_seconds()
