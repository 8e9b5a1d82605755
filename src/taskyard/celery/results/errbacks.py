"""Errbacks as jobs of their own, written with the failure that calls for them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from celery.app.task import Context
from celery.canvas import group
from celery.exceptions import NotRegistered
from celery.utils.functional import arity_greater
from kombu.utils.json import dumps, loads

from taskyard.celery.attempt.attempt import current_attempt
from taskyard.celery.attempt.trouble import describe
from taskyard.celery.messages import CALL_ERRBACK
from taskyard.celery.results.rebuilt import rebuilt
from taskyard.jobs.ids import job_id
from taskyard.jobs.models import Job


def enqueue_errbacks(app: Any, request: Any, error: Any) -> None:
    """Send every errback of a failed task: as Celery does, ``(task_id,)`` or ``(request, exc, traceback)``."""
    simple = []
    root = request.root_id or request.id
    for stored in request.errbacks or ():
        errback = app.signature(stored)
        if _wants_exception(errback):
            arguments = (json.loads(dumps(dict(errback))), request.id, _context(request), _described(error))
            # On the failed task's own queue: somebody consumes that one.
            app.send_task(CALL_ERRBACK, arguments, parent_id=request.id, root_id=root, queue=_queue_of(request.id))
        else:
            simple.append(errback)
    if simple:
        group(simple, app=app).apply_async((request.id,), parent_id=request.id, root_id=root)


def _queue_of(task_id: str) -> str | None:
    attempt = current_attempt()
    if attempt is not None:
        return attempt.claim.queue
    return Job.objects.filter(id=job_id(task_id)).values_list("queue", flat=True).first()


def _wants_exception(errback: Any) -> bool:
    try:
        header = errback.type.__header__
    except (NotRegistered, AttributeError):
        # Not known here, or a class without a checked signature: it gets the id and may run elsewhere.
        return False
    return not isinstance(header, partial) and bool(arity_greater(header, 1))


def _context(request: Any) -> dict[str, Any]:
    fields = ("id", "task", "root_id", "parent_id", "args", "kwargs", "group", "retries", "headers")
    found = {name: getattr(request, name, None) for name in fields}
    kept: dict[str, Any] = json.loads(dumps({name: value for name, value in found.items() if value is not None}))
    return kept


def _described(error: Any) -> dict[str, str]:
    if not isinstance(error, BaseException):
        return {"type": "Exception", "message": str(error), "traceback": ""}
    trouble = describe(error)
    return {"type": trouble.type, "message": trouble.message, "traceback": trouble.traceback}


def call_errback(
    app: Any, stored: dict[str, Any], task_id: str, context: dict[str, Any], error: dict[str, str]
) -> None:
    """Body of :data:`CALL_ERRBACK`: the errback gets the request, an exception rebuilt from its text, the traceback."""
    exception = rebuilt(str(error["type"]), str(error["message"]))
    if not context:
        row = Job.objects.filter(id=job_id(task_id)).first()
        context = {"id": task_id, "task": row.task if row else None}
    app.signature(loads(json.dumps(stored)))(Context(context), exception, error["traceback"])
