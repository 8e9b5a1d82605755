"""What a job that ends without an answer means for its canvas: no chord may wait for it for ever."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from celery import states
from celery.app.task import Context
from celery.exceptions import Reject, TaskRevokedError

from taskyard.celery.attempt.attempt import following
from taskyard.jobs.models import Job
from taskyard.settings import get_settings


def tell_canvas(app: Any, task_id: str, request: Mapping[str, Any], reason: str, *, failed: bool = False) -> None:
    """Count a chord member as revoked, and record the steps of a chain that will not run any more.

    Errbacks are called for a failure only: to cancel is not to fail.
    """
    if request.get("chord") or request.get("chain") or (failed and request.get("errbacks")):
        app.backend.mark_as_failure(
            task_id,
            Reject(reason) if failed else TaskRevokedError(reason),
            request=Context(dict(request)),
            call_errbacks=failed,
            state=states.FAILURE if failed else states.REVOKED,
        )


def tell_canvases(app: Any, job_ids: Iterable[uuid.UUID], reason: str) -> None:
    """The same for rows that were cancelled before they could start, in the transaction that cancels them."""
    rows = Job.objects.using(get_settings().database).filter(id__in=list(job_ids)).exclude(message=None)
    for job in rows:
        message = job.message or {}
        request = {
            "id": job.celery_id, "task": job.task, "root_id": str(job.root or job.id), "delivery_info": {},
            "args": job.args, "kwargs": job.kwargs, **message.get("headers", {}), **message.get("embed", {}),
        }  # fmt: skip
        with following(job.tenant):
            tell_canvas(app, job.celery_id, request, reason)
