"""``CELERY_TASK_ALWAYS_EAGER``: jobs run where they are enqueued, through the same executor."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar

from billiard.einfo import ExceptionInfo
from celery.exceptions import Ignore, Retry
from django.conf import settings as django_settings
from django.db import connections, transaction
from django.utils import timezone

from taskyard.celery.application import get_app
from taskyard.celery.attempt.answer import Answer
from taskyard.celery.attempt.executor import Delivery, execute
from taskyard.execution.claim import new_token
from taskyard.jobs.models import Job
from taskyard.jobs.scribe import reporting_here, scribe
from taskyard.runtime import testcase
from taskyard.runtime.identity import worker_id
from taskyard.settings import get_settings

_queue: ContextVar[deque[uuid.UUID] | None] = ContextVar("taskyard_eager_queue", default=None)


def is_eager() -> bool:
    """Whether jobs run at once: Celery's own setting, as it is now."""
    configured = getattr(django_settings, "CELERY_TASK_ALWAYS_EAGER", None)
    return bool(get_app().is_configured_eager if configured is None else configured)


def run_eagerly(job_ids: Sequence[uuid.UUID], alias: str) -> None:
    """Run the jobs after the caller's commit; at once inside a ``TestCase``, whose commit never comes.

    Where errors of tasks propagate, the first one is raised when all of them, and all that followed, have run.
    """
    if testcase.is_in_test_case(alias):
        _run_all(job_ids)
        return
    for entry in connections[alias].run_on_commit:
        if isinstance(entry[1], _AfterCommit):
            entry[1].job_ids.extend(job_ids)
            return
    transaction.on_commit(_AfterCommit(job_ids), using=alias)


class _AfterCommit:
    # One for a transaction: an error that one raises would keep Django from calling another. A savepoint that is undone
    # takes it along if it was the first to enqueue, and else leaves ids without rows.
    def __init__(self, job_ids: Sequence[uuid.UUID]) -> None:
        self.job_ids = list(job_ids)

    def __call__(self) -> None:
        _run_all(self.job_ids)


def _run_all(job_ids: Sequence[uuid.UUID]) -> None:
    waiting = _queue.get()
    if waiting is not None:
        # A job enqueued by a running one starts after it, as in a worker; a chain must not nest without end.
        waiting.extend(job_ids)
        return
    waiting = deque(job_ids)
    token = _queue.set(waiting)
    first: BaseException | None = None
    try:
        while waiting:
            error = _run(waiting.popleft())
            first = error if first is None else first
    finally:
        _queue.reset(token)
        # Its connection would keep a test database from being dropped.
        scribe().close()
    if first is not None and getattr(django_settings, "CELERY_TASK_EAGER_PROPAGATES", False):
        raise first


def _run(job_id: uuid.UUID) -> BaseException | None:
    # eta and countdown are honoured by not waiting for them; a retry comes at once.
    while (answer := run_here(job_id, is_eager=True)) is not None:
        if Job.objects.filter(id=job_id, state="retrying").exists():
            continue
        error = error_of(answer)
        with contextlib.suppress(AttributeError):
            # Whoever answers a request with it says which job it was.
            error.job_id = job_id  # type: ignore[union-attr]
        return error
    return None


def run_here(job_id: uuid.UUID, *, is_eager: bool = False) -> Answer | None:
    """Run the next attempt of a job that waits for its time or its turn, in this thread; None if none does.

    In a test case it runs as it would without that one's transaction.
    """
    jobs = Job.objects.filter(id=job_id, state__in=["pending", "retrying"])
    task = jobs.values_list("task", flat=True).first()
    if task is None or not jobs.update(state="queued", due=True, published_at=timezone.now()):
        return None
    info = {"is_eager": True} if is_eager else {}
    host = socket.gethostname()
    delivery = Delivery(str(job_id), task, new_token(), str(worker_id()), host, info, is_here=True)
    if not testcase.is_in_test_case(get_settings().database):
        return execute(delivery, get_app())
    with testcase.as_without_transaction(), reporting_here():
        return execute(delivery, get_app())


def error_of(answer: Answer) -> BaseException | None:
    """The error of the task itself that an attempt ended with."""
    failed, value, _ = answer
    error = value
    if isinstance(value, ExceptionInfo):
        error = getattr(value.exception, "exc", value.exception)
    is_the_tasks = failed and isinstance(error, BaseException) and not isinstance(error, (Ignore, Retry))
    return error if is_the_tasks else None
