"""Whether a task may run twice: what at-least-once asks of each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from django.db.models import QuerySet
from django.test import override_settings

from taskyard.celery.eager import error_of, run_here
from taskyard.jobs.models import Job
from taskyard.jobs.scribe import scribe
from taskyard.tenancy.context import find_tenancy, tenant_context
from taskyard.testing import faults
from taskyard.testing.cases.calls import enqueue, shown_call, task_name
from taskyard.testing.cases.observing import differences, seen
from taskyard.testing.cases.running import commit, rescue


def assert_idempotent(
    task: Any,
    kwargs: Mapping[str, Any] | None = None,
    *,
    args: Sequence[Any] = (),
    observe: Callable[[], Any] | None = None,
) -> Job:
    """Fail if running the task a second time changes what the first time left; its job.

    The job is enqueued and run by the executor of a worker; when the body has returned, the worker "is killed", before
    that is recorded. So the job runs again, as in production: as another attempt, which has what the first one saved as
    its checkpoint and nothing else. What is there between the two is compared with what is there at the end.

    ``observe`` returns whatever of the project is to be compared, with ``==``. Without it that is: every row of the
    project's tables in sight (but ``auto_now`` columns), the mails in Django's outbox, the jobs that were enqueued.

    Limits: what neither is in (files, caches, calls to other systems) is only seen by an ``observe`` of yours, and so
    are tables too large to be read. The body is not cut off halfway: for that put
    :func:`faults.dying <taskyard.testing.faults.dying>` or an error at the place. Jobs that it enqueues are not run.
    """
    __tracebackhide__ = True
    commit()
    call = shown_call(task_name(task), args, kwargs or {})
    try:
        with override_settings(CELERY_TASK_ALWAYS_EAGER=False):
            job = enqueue(task, args, kwargs=kwargs or {})
            _run_and_die(job.id, call)
            first = _observed(job, observe)
            _run_again(job.id, call)
            second = _observed(job, observe)
    finally:
        # Its connection would keep a test database from being dropped.
        scribe().close()
    if observe is None and (lines := differences(first, second)):
        shown = "\n  ".join(lines)
        raise AssertionError(f"{call} is not safe to run twice. Its second run changed:\n  {shown}")
    if first != second:
        raise AssertionError(f"{call} is not safe to run twice. After one run: {first!r}\nAfter two runs: {second!r}")
    job.refresh_from_db()
    return job


def _run_and_die(job: uuid.UUID, call: str) -> None:
    __tracebackhide__ = True
    try:
        with faults.dying("body.ended"):
            run_here(job)
    except faults.Died as death:
        rescue(job, death)
        error = death.__context__
        if isinstance(error, Exception):
            raise AssertionError(f"{call} failed in its first run: {type(error).__name__}: {error}") from error


def _run_again(job: uuid.UUID, call: str) -> None:
    __tracebackhide__ = True
    answer = run_here(job)
    error = None if answer is None else error_of(answer)
    if error is not None:
        raise AssertionError(
            f"{call} is not safe to run twice. Its second run failed: {type(error).__name__}: {error}"
        ) from error


def _observed(job: Job, observe: Callable[[], Any] | None) -> Any:
    if observe is not None:
        found = observe()
        return list(found) if isinstance(found, QuerySet) else found
    with tenant_context(job.tenant) if find_tenancy() is not None else nullcontext():
        return seen(but_job=job.id)
