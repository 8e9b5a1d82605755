"""What is enqueued because of a batch: checked when it is said, written as a job when its moment has come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from taskyard import enqueue
from taskyard.batches.decision import Moment
from taskyard.batches.models import Batch
from taskyard.enqueue.row import new_job
from taskyard.errors import BatchEnded, TaskyardError
from taskyard.jobs.rows.newjob import NewJob
from taskyard.outbox.payload import payload_text, read_payload
from taskyard.tasks.task import Task

#: The argument that a callback is given if it takes it.
_BATCH_ID = "batch_id"


def texts(given: Any, batch: Batch, now: dt.datetime) -> list[str]:
    """The jobs of a task, of a pair of task and arguments, or of a list of them, as texts.

    Raises what an enqueue of them would: nobody is there to hear of it when their moment comes.
    """
    return [_text(one, batch, now) for one in (given if isinstance(given, list) else [given])]


def _text(given: Any, batch: Batch, now: dt.datetime) -> str:
    task, kwargs = given if isinstance(given, tuple) and len(given) == 2 else (given, {})
    if not isinstance(task, Task) or not isinstance(kwargs, Mapping):
        raise TaskyardError(
            f"Batch {batch.name!r}: {given!r} cannot follow it. Pass what @task returned, a pair of that and a dict of "
            "arguments, or a list of them."
        )
    if batch.tenant and task.call.tenant is None:
        task = task.using(tenant=batch.tenant)
    if _BATCH_ID in task.signature.parameters:
        kwargs = {_BATCH_ID: str(batch.id), **kwargs}
    job = new_job(task, (), kwargs=kwargs, now=now)
    if not job.subject_type:
        job.subject_type, job.subject_id = batch.subject_type, batch.subject_id
    return payload_text(job)


def jobs_of(batch: Batch, moment: Moment, now: dt.datetime) -> list[NewJob]:
    """The jobs of a moment that has come now. Their ids are those that they were given when it was said."""
    return [_ready(text, now) for text in batch.callbacks.get(moment, ())]


def _ready(text: str, now: dt.datetime) -> NewJob:
    job = read_payload(text)
    assert isinstance(job, NewJob)
    # What it was to wait, it waits from now on.
    job.available_at, job.created_at = now + (job.available_at - job.created_at), now
    return job


def add_next(batch: Batch, task: Task[..., Any], *, kwargs: Mapping[str, Any]) -> None:
    """See :meth:`taskyard.batches.models.Batch.then`."""
    alias, now = enqueue.control_alias(), timezone.now()
    text = _text((task, kwargs), batch, now)
    with transaction.atomic(using=alias):
        row = Batch.objects.select_for_update().get(id=batch.id)
        if row.cancel_requested_at is not None:
            raise BatchEnded(batch.name, batch.id)
        row.callbacks.setdefault(Moment.NEXT.value, []).append(text)
        if Moment.NEXT in row.told:
            enqueue.write([_ready(text, now)], alias)
        row.save(using=alias, update_fields=["callbacks"])
    batch.callbacks = row.callbacks
