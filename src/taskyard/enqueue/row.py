"""The row of a call: pure but for the queues and routes of the project."""

from __future__ import annotations

import datetime as dt
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import models
from django.utils import timezone

from taskyard.enqueue.owner import owner_of
from taskyard.errors import InvalidTask, TaskyardError, UnknownQueue
from taskyard.jobs.current import find_current_job
from taskyard.jobs.ids import new_id
from taskyard.jobs.rows import newjob
from taskyard.jobs.rows.newjob import NewJob
from taskyard.settings import get_settings
from taskyard.tasks.doors import door
from taskyard.tasks.payload import encode_arguments
from taskyard.tasks.task import CallOptions, Task
from taskyard.tasks.unique import names_only, unique_key, unique_lock


def resolve_queue(name: str | None, task: str) -> str:
    """The logical queue of a call: as named, else by the project's routes; raises :class:`UnknownQueue`."""
    queue: str = name or door("route")(task)
    settings = get_settings()
    if settings.queues and queue not in {*settings.queues, *settings.handover, door("default_queue")()}:
        raise UnknownQueue(queue, list(settings.queues))
    return queue


def new_job(task: Task[Any, Any], args: Sequence[Any], *, kwargs: Mapping[str, Any], now: dt.datetime) -> NewJob:
    """The row of one call."""
    new = template_of(task, now)
    new.tenant = owner_of(task, task.call.tenant, arguments=lambda: _bind(task, args, kwargs).arguments)
    newjob.refuse_odd_names(new)
    (new.args, new.kwargs), new.unique_key, new.unique_lock = payload_of(
        task, args, kwargs=kwargs, tenant=new.tenant, limit_bytes=get_settings().max_payload_bytes
    )
    new.root = new.root or new.id
    return new


def template_of(task: Task[Any, Any], now: dt.datetime) -> NewJob:
    """The row of a call, but for its arguments and its tenant."""
    options, call = task.options, task.call
    if not options.tracked:
        raise InvalidTask(task.name, "it is declared tracked=False and has no jobs: call .delay() or .apply_async()")
    running = find_current_job()
    return NewJob(
        id=new_id(), task=task.name, queue=resolve_queue(call.queue_name or options.queue, task.name),
        created_at=now, available_at=run_time(call.run_after, now),
        priority=options.priority if call.priority is None else call.priority,
        max_attempts=options.retry.max_retries + 1,
        soft_time_limit=seconds(options.soft_time_limit), time_limit=seconds(options.time_limit),
        parent=running.id if running else None, root=running.root if running else None, batch=call.batch,
        **_about(call),
    )  # fmt: skip


def payload_of(
    task: Task[Any, Any], args: Sequence[Any], *, kwargs: Mapping[str, Any], tenant: str, limit_bytes: int
) -> tuple[tuple[str, str], str | None, str | None]:
    """Arguments as JSON texts, the unique key and its lock; raises for what the task does not take."""
    own_key = task.call.unique_key
    unique = None if own_key else task.options.unique
    given = kwargs
    if args or not task.accepts(kwargs) or not names_only(unique, kwargs):
        given = _bind(task, args, kwargs).arguments
    texts = encode_arguments(task.name, args, kwargs, limit_bytes)
    if not unique and not own_key:
        return texts, None, None
    key = own_key or unique_key(task.name, unique or True, given)
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
    if not isinstance(run_after, dt.datetime):
        raise TaskyardError(f"run_after={run_after!r} is no time: pass an aware datetime, or a timedelta from now.")
    if timezone.is_naive(run_after):
        raise TaskyardError(f"run_after={run_after!r} has no time zone: pass an aware datetime, or a timedelta.")
    return run_after


def seconds(limit: dt.timedelta | None) -> float | None:
    """A duration as the seconds a column holds."""
    return None if limit is None else limit.total_seconds()
