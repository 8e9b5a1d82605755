"""Rows that are written in the caller's transaction, and seen to after its commit."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections import Counter
from collections.abc import Container, Sequence

from django.db import transaction
from django.db.models import Q

from taskyard import events
from taskyard.errors import DuplicateJob, TaskyardError
from taskyard.jobs.models import Job
from taskyard.jobs.rows import newjob, tally
from taskyard.jobs.rows.newjob import NewJob
from taskyard.jobs.rows.sql import Sql
from taskyard.runtime.wakeup import WORK_WRITTEN, wake
from taskyard.settings import get_settings
from taskyard.tasks import registry
from taskyard.tasks.doors import door


def write(jobs: Sequence[NewJob], alias: str, *, are_fresh: bool = False) -> set[uuid.UUID]:
    """Insert rows in the caller's transaction and see to it that they are fed after its commit; the new ids."""
    written = record(jobs, alias, are_fresh=are_fresh)
    refuse_ids_of_others([job for job in jobs if job.task_id and job.id not in written], alias)
    if written:
        set_off([job.id for job in jobs if job.id in written], alias)
    return written


def refuse_ids_of_others(jobs: Sequence[NewJob], alias: str) -> None:
    """Raise for a call whose own id (docs/celery.md) names another tenant's job: it must not silently do nothing."""
    for job in jobs:
        if job.task_id and Job.objects.using(alias).filter(id=job.id).exclude(tenant=job.tenant).exists():
            raise TaskyardError(
                f"task_id={job.task_id!r} of task {job.task!r} is in use outside of tenant {job.tenant!r}, and nothing "
                "was enqueued: make the tenant a part of ids that are your own, for example by tenant_key()."
            )


def record(
    jobs: Sequence[NewJob], alias: str, *, are_fresh: bool = False, told: Container[uuid.UUID] | None = None
) -> set[uuid.UUID]:
    """Insert rows in the caller's transaction; the new ids.

    A job whose key is held is left out, if its caller is told: all are, or those in ``told``. The others were given
    its id and must find something there: it is written as cancelled.
    """
    written = newjob.insert(Sql(alias), jobs, are_fresh=are_fresh)
    refused = [job for job in jobs if job.id not in written and job.unique_lock]
    awaited = [job for job in refused if _is_awaited(job) or (told is not None and job.id not in told)]
    if awaited:
        written |= _refuse_aloud(awaited, alias)
    # Members are what was written: a call whose key is held is none.
    members = [job.batch for job in jobs if job.batch is not None and job.id in written]
    if members:
        tally.add(Sql(alias), {(batch, tally.ADDED): count for batch, count in Counter(members).items()})
    if written and events.job_enqueued.receivers:
        for job in jobs:
            if job.id in written:
                events.job_enqueued.send_robust(Job, job_id=job.id, task=job.task, queue=job.queue, tenant=job.tenant)
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
        transaction.on_commit(wake_feeder, using=alias)


def wake_feeder() -> None:
    wake(WORK_WRITTEN)


def control_alias() -> str:
    """The alias of the database where jobs live."""
    return get_settings().database


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
