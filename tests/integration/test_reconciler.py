"""A job that its living worker does not run any more is noticed."""

import datetime as dt
import uuid
from types import SimpleNamespace

import pytest
from celery.worker import state as worker_state
from django.utils import timezone

from taskyard.celery.worker import step
from taskyard.celery.worker.settler import Death, handle
from taskyard.celery.worker.step import Reconciler
from taskyard.execution.claim import claim
from taskyard.models import Job
from tests.app import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_running_job_no_request_stands_for_is_ended_as_lost_after_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = uuid.uuid4()
    gone, here = _running(worker, token=1), _running(worker, token=2)
    request = SimpleNamespace(token=2)
    monkeypatch.setitem(worker_state.requests, "here", request)
    ended: list[Death] = []
    monkeypatch.setattr(step, "settler", lambda: SimpleNamespace(submit=ended.append))
    reconciler = Reconciler(worker)
    later = timezone.now() + dt.timedelta(minutes=1)

    assert reconciler.run_once(later) == 0
    assert reconciler.run_once(later) == 1
    for death in ended:
        handle(death)

    assert Job.objects.get(id=gone).state == "retrying"
    assert Job.objects.get(id=gone).attempts.get().error_type == "WorkerLost"
    assert Job.objects.get(id=here).state == "running"


def test_a_job_that_just_started_is_not_asked_for() -> None:
    worker = uuid.uuid4()
    _running(worker, token=1)
    reconciler = Reconciler(worker)

    assert [reconciler.run_once(timezone.now()) for _ in range(3)] == [0, 0, 0]


def _running(worker: uuid.UUID, *, token: int) -> uuid.UUID:
    job = tasks.nothing.enqueue()
    Job.objects.filter(id=job.id).update(state="queued")
    assert claim(job.id, token, worker, timezone.now()) is not None
    return uuid.UUID(str(job.id))
