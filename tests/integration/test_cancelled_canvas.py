"""A chord never waits for a member that will not run, and a cancel asked for during a run is kept."""

import uuid
from pathlib import Path

import pytest
from celery import chain, chord
from celery.exceptions import TaskRevokedError
from django.test import override_settings
from django.utils import timezone

from taskyard.execution import steering
from taskyard.execution.claim import claim
from taskyard.execution.outcome import RetryAt, Trouble
from taskyard.execution.settle import settle
from taskyard.models import Job
from tests.app import plain, tasks

pytestmark = pytest.mark.django_db(transaction=True)


def test_cancelling_a_waiting_member_fails_the_chords_body() -> None:
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s()).delay()

    assert steering.cancel([uuid.UUID(member.id) for member in result.parent.results], timezone.now()) == 2

    body = Job.objects.get(id=result.id)
    assert (body.task, body.state) == ("tests.app.tasks.total", "failed")
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)


def test_cancelling_the_first_step_of_a_chain_ends_the_others() -> None:
    result = chain(tasks.add.s(1, 1), tasks.add.s(2), tasks.add.s(3)).delay()

    steering.cancel([uuid.UUID(result.parent.parent.id)], timezone.now())

    assert {Job.objects.get(id=step.id).state for step in (result, result.parent)} == {"failed"}


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
@pytest.mark.parametrize("how", ["discard", "reject", "expired"])
def test_a_member_that_ends_without_an_answer_fails_the_chords_body(how: str, tmp_path: Path) -> None:
    member = {
        "discard": tasks.steer.s("discard"),
        "reject": plain.rejects.s(requeue=False, mark=str(tmp_path / "mark")),
        "expired": tasks.add.s(1, 1).set(expires=timezone.now()),
    }[how]

    result = chord([tasks.add.s(1, 1), member], tasks.total.s()).delay()

    assert Job.objects.get(id=result.id).state == "failed"


def test_a_cancel_asked_for_while_a_job_runs_stops_its_retry() -> None:
    job = tasks.nothing.enqueue()
    Job.objects.filter(id=job.id).update(state="queued")
    owned = claim(job.id, 1, uuid.uuid4(), timezone.now())
    assert owned is not None

    steering.cancel([job.id], timezone.now())
    assert settle(owned, RetryAt(timezone.now(), Trouble("ValueError")), timezone.now())

    assert Job.objects.get(id=job.id).state == "cancelled"
