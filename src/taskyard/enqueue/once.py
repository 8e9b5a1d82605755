"""At most one unfinished job of a task about a row of the project's own."""

from __future__ import annotations

from typing import Any

from django.db import models

from taskyard.enqueue.writing import control_alias
from taskyard.errors import DuplicateJob
from taskyard.jobs.models import Job
from taskyard.tasks.task import Task


def enqueue_once(task: Task[..., Any], subject: models.Model, /, **kwargs: Any) -> Job:
    """Enqueue this call about ``subject``, or find the unfinished job of the task about it: ``job.created`` says which.

    The key is (tenant, task, subject), held by a unique index until the job has ended: of any number of callers at the
    same time one creates it. Who comes while the transaction of the first is open waits for that to end. A task that is
    declared with ``unique`` keeps its own key, which decides then. Jobs that were enqueued about the subject in another
    way hold no such key and are not found. The job is written in a transaction of the control database.
    """
    call = task.using(subject=subject, database=control_alias())
    if not task.options.unique and not task.call.unique_key:
        call = call.using(unique_key=f"{subject._meta.label_lower} {subject.pk}")
    try:
        job: Job = call.enqueue(**kwargs)
    except DuplicateJob as duplicate:
        job = duplicate.job
    return job
