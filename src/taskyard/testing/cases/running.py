"""Jobs that run here and now, as they would in a worker: the same claim, body and settle, without a broker."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.models import Q
from django.test import override_settings
from django.utils import timezone

from taskyard.batches.teller import Teller
from taskyard.celery.eager import error_of, run_here
from taskyard.enqueue.databases import is_within_transaction
from taskyard.errors import TaskyardError
from taskyard.execution.claim import find_claim
from taskyard.execution.outcome import Trouble, lost
from taskyard.execution.settle import settle
from taskyard.jobs.models import Job
from taskyard.jobs.scribe import scribe
from taskyard.jobs.states import State
from taskyard.runtime.testcase import commit_hooks
from taskyard.sagas.keeper import Keeper
from taskyard.settings import get_settings
from taskyard.testing.cases.calls import job_id
from taskyard.testing.faults import Died

#: Attempts after which a drain gives up.
MOST_ATTEMPTS = 1_000


def commit() -> int:
    """Call what waits for the commit of this test's transaction (``on_commit``); how many functions were called.

    A ``TestCase``, and pytest-django's ``db``, never commit. Where tests do, there is nothing to do. Raises
    :class:`~taskyard.errors.TaskyardError` within an ``atomic()`` of the test's own: that has not committed either.
    """
    for connection in connections.all(initialized_only=True):
        if is_within_transaction(connection.alias):
            raise TaskyardError(f"A transaction of this test is open on {connection.alias!r}: leave atomic() first.")
    return commit_hooks()


def run_jobs(
    *, retries: bool = True, delayed: bool = False, raise_errors: bool = True, limit: int = MOST_ATTEMPTS
) -> list[Job]:
    """Run what is due, and what follows from it, until nothing is left; the jobs that ran, in order of their start.

    Batches are counted and sagas looked at whenever nothing is due, so that what follows them runs as well.

    Each goes through the executor of a worker: claim, arguments from JSON, tenant, body, retries, links and chains,
    settle. The higher priority first, then the older. ``commit()`` comes before, and what bodies leave for a commit is
    called when they end. Retries come at once, whatever their wait; with ``retries=False`` those that are due.
    ``delayed=True`` takes jobs before their time as well (``run_after``, ``Snooze``). The error of a task that leaves
    its job failed is raised, at once: the job is ``failed`` by then, and a further call goes on with the others.

    Limits: one job at a time, in this thread. No time limits, no fair share; pauses and maxima of queues and tenants do
    not hold anything back. Queues in ``HANDOVER`` are left alone. Fails after ``limit`` attempts: then a job keeps
    enqueuing another.
    """
    commit()
    ran: dict[uuid.UUID, None] = {}
    try:
        for _ in range(limit):
            found = _due(retries=retries, delayed=delayed)
            if found is None and (Teller().run_once(timezone.now()) or Keeper().run_once(timezone.now())):
                # A batch was counted or a saga woken, and what follows may be due.
                found = _due(retries=retries, delayed=delayed)
            if found is None:
                break
            ran[found] = None
            error = run_attempt(found)
            if raise_errors and error is not None and _is_failed(found):
                raise error
        else:
            raise AssertionError(f"{limit} attempts were run, and jobs are still due: does one keep enqueuing another?")
    finally:
        # Its connection would keep a test database from being dropped.
        scribe().close()
    jobs = Job.objects.in_bulk(list(ran))
    return [jobs[one] for one in ran if one in jobs]


def run_attempt(job: Any) -> BaseException | None:
    """Run the next attempt of one job that waits, whenever it is due; the error of the task it ended with.

    ``job`` is what ``enqueue()`` or ``delay()`` returned, or an id. Nothing happens to one that does not wait. Where
    :class:`~taskyard.testing.faults.Died` strikes, the worker is taken for lost, as the rescuer would.
    """
    wanted = job_id(job)
    try:
        answer = run_here(wanted)
    except Died as death:
        rescue(wanted, death)
        return None
    return None if answer is None else error_of(answer)


@contextmanager
def eagerly(*, propagate: bool = True) -> Iterator[None]:
    """Within, jobs run where they are enqueued: at once in a ``TestCase``, else after the caller's commit.

    The same as ``override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_EAGER_PROPAGATES=propagate)``.
    """
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_EAGER_PROPAGATES=propagate):
        yield


def _due(*, retries: bool, delayed: bool) -> uuid.UUID | None:
    wanted = Q(state__in=[State.PENDING.value, State.RETRYING.value], available_at__lte=timezone.now())
    if retries:
        wanted |= Q(state=State.RETRYING.value)
    if delayed:
        wanted |= Q(state=State.PENDING.value)
    jobs = Job.objects.filter(wanted).exclude(queue__in=list(get_settings().handover))
    return jobs.order_by("-priority", "available_at", "id").values_list("id", flat=True).first()


def _is_failed(job: uuid.UUID) -> bool:
    return Job.objects.filter(id=job, state=State.FAILED.value).exists()


def rescue(job: uuid.UUID, death: Died) -> None:
    """Give a job back whose worker is gone."""
    token = Job.objects.filter(id=job, state=State.RUNNING.value).values_list("claim", flat=True).first()
    claim = None if token is None else find_claim(job, token)
    if claim is not None:
        trouble, now = Trouble("WorkerLost", str(death), "worker-lost"), timezone.now()
        settle(claim, lost(trouble, crashes=claim.crashes, is_crash=False, poison_after=1, now=now), now)
