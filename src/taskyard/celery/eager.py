"""``CELERY_TASK_ALWAYS_EAGER``: jobs run where they are enqueued, through the same executor."""

from __future__ import annotations

import secrets
import socket
import uuid
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from celery.exceptions import Ignore, Retry
from django.conf import settings as django_settings
from django.db import connections, transaction
from django.utils import timezone

from taskyard.celery.application import get_app
from taskyard.celery.attempt.executor import Delivery, execute
from taskyard.jobs.models import Job
from taskyard.jobs.scribe import scribe
from taskyard.runtime.identity import worker_id

_queue: ContextVar[deque[uuid.UUID] | None] = ContextVar("taskyard_eager_queue", default=None)


def is_eager() -> bool:
    """Whether jobs run at once: Celery's own setting, as it is now."""
    configured = getattr(django_settings, "CELERY_TASK_ALWAYS_EAGER", None)
    return bool(get_app().is_configured_eager if configured is None else configured)


def run_eagerly(job_ids: Sequence[uuid.UUID], alias: str) -> None:
    """Run the jobs after the caller's commit; at once inside a ``TestCase``, whose commit never comes."""
    if _in_test_case(alias):
        _run_all(job_ids)
    else:
        transaction.on_commit(lambda: _run_all(job_ids), using=alias)


def _in_test_case(alias: str) -> bool:
    blocks = getattr(connections[alias], "atomic_blocks", ())
    return any(getattr(block, "_from_testcase", False) for block in blocks)


def _run_all(job_ids: Sequence[uuid.UUID]) -> None:
    waiting = _queue.get()
    if waiting is not None:
        # A job enqueued by a running one starts after it, as in a worker; a chain must not nest without end.
        waiting.extend(job_ids)
        return
    waiting = deque(job_ids)
    token = _queue.set(waiting)
    try:
        while waiting:
            _run(waiting.popleft())
    finally:
        _queue.reset(token)
        # Its connection would keep a test database from being dropped.
        scribe().close()


def _run(job_id: uuid.UUID) -> None:
    app = get_app()
    while True:
        jobs = Job.objects.filter(id=job_id, state__in=["pending", "retrying"])
        row = jobs.values_list("task", "available_at").first()
        # eta and countdown are honoured by not waiting for them; a retry comes at once.
        if row is None or not jobs.update(state="queued", due=True, published_at=timezone.now()):
            return
        delivery = Delivery(
            str(job_id), row[0], secrets.randbits(63), str(worker_id()), socket.gethostname(), {"is_eager": True}
        )
        failed, value, _ = execute(delivery, app)
        if Job.objects.filter(id=job_id, state="retrying").exists():
            continue
        if failed:
            _propagate(value)
        return


def _propagate(value: Any) -> None:
    error = getattr(value, "exception", None)
    error = getattr(error, "exc", error)
    propagates = getattr(django_settings, "CELERY_TASK_EAGER_PROPAGATES", False)
    if propagates and isinstance(error, BaseException) and not isinstance(error, (Ignore, Retry)):
        raise error
