"""One call: a row in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.utils import timezone

from taskyard.enqueue.databases import alias_of_call, put, what_became_of
from taskyard.enqueue.row import new_job
from taskyard.enqueue.writing import control_alias, existing_job, write
from taskyard.jobs.models import Job
from taskyard.jobs.rows import newjob
from taskyard.tasks.task import Task


def enqueue(task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job:
    """Write the job of one call; see :meth:`taskyard.tasks.task.Task.enqueue` for the guarantee."""
    alias, control = alias_of_call(task.call.database), control_alias()
    new = new_job(task, args, kwargs=kwargs, now=timezone.now())
    if alias != control:
        return what_became_of(new, control) if put([new], alias) else newjob.as_job(new, control)
    if write([new], alias, are_fresh=True):
        return newjob.as_job(new, alias)
    return existing_job(new, alias)


async def aenqueue(task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job:
    """:func:`enqueue` for async code."""
    job: Job = await sync_to_async(enqueue, thread_sensitive=True)(task, args, kwargs)
    return job
