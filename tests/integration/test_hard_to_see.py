"""Situations that need two things to happen at once, each told as it would go wrong."""

import os
import uuid

import pytest
from celery import chain, chord
from celery.exceptions import TaskRevokedError
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from taskyard.celery.results import chords
from taskyard.celery.worker.connections import discard_left_open
from taskyard.celery.worker.settler import is_gone
from taskyard.execution import steering
from taskyard.execution.rescuer import Rescuer
from taskyard.models import Canvas, Job, Worker
from tests.app import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_rescuer_that_was_stopped_itself_takes_nobody_for_lost() -> None:
    clock = [0.0]
    rescuer = Rescuer(lambda: clock[0])
    now = timezone.now()
    Worker.objects.create(id=uuid.uuid4(), name="w", host="h", pid=1, started_at=now, heartbeat_at=now)
    job = tasks.nothing.enqueue()
    worker = Worker.objects.get()
    Job.objects.filter(id=job.id).update(state="running", claim=1, attempt=1, worker=worker.id, started_at=now)
    rescuer.run_once(now)

    clock[0] += 30.0
    assert rescuer.run_once(now) == 0

    for _ in range(21):
        clock[0] += 1.0
        rescuer.run_once(now)
    assert Job.objects.get(id=job.id).state == "retrying"


def test_a_duplicate_of_a_unique_task_in_a_chord_fails_the_chord_instead_of_hanging_it() -> None:
    tasks.once.enqueue(key="held")

    result = chord([tasks.once.s(key="held"), tasks.add.s(1, 1)], tasks.total.s()).delay()

    duplicate = Job.objects.get(id=result.parent.results[0].id)
    assert (duplicate.state, duplicate.error["reason"]) == ("cancelled", "duplicate")
    with pytest.raises(TaskRevokedError):
        result.parent.results[0].get(timeout=5)
    assert Canvas.objects.get().done == 1


def test_a_task_id_used_again_gives_the_job_it_names() -> None:
    first = tasks.once.apply_async(kwargs={"key": "a"}, task_id="report-17")
    Job.objects.update(state="succeeded", unique_lock=None)

    again = tasks.once.apply_async(kwargs={"key": "a"}, task_id="report-17")

    assert (first.id, again.id) == ("report-17", "report-17")
    assert Job.objects.count() == 1


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_a_failed_chain_goes_on_when_its_failed_step_is_retried_and_not_before() -> None:
    result = chain(tasks.steer.s("fail-once"), tasks.answer.s()).delay()
    first, second = uuid.UUID(result.parent.id), uuid.UUID(result.id)
    assert Job.objects.get(id=second).state == "failed"

    assert steering.retry([second], timezone.now()) == 0
    assert steering.retry([first], timezone.now()) == 1
    from taskyard.celery.eager import run_eagerly

    run_eagerly([first], "default")

    assert Job.objects.get(id=first).state == "succeeded"
    assert Job.objects.get(id=second).result == "fail-once"


def test_opening_the_same_chord_again_changes_nothing() -> None:
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s()).delay()
    canvas = Canvas.objects.get()

    chords.open_chord(tasks.add.delay.__self__.app, result.parent, {"chord_size": 9})

    assert Canvas.objects.get().size == canvas.size == 2


def test_a_transaction_a_task_left_open_by_hand_is_not_written_into() -> None:
    connection.set_autocommit(False)
    Job.objects.count()

    discard_left_open()

    assert connection.connection is None
    assert connection.get_autocommit()


def test_a_process_of_somebody_else_with_a_dead_childs_number_is_not_ours() -> None:
    assert is_gone(os.getppid())
    assert is_gone(2**22 + 1)


def test_a_duplicate_of_a_unique_task_in_a_chain_ends_the_chain_for_all_to_see() -> None:
    tasks.once.enqueue(key="held")

    result = chain(tasks.once.s(key="held"), tasks.answer.s()).delay()

    assert Job.objects.filter(unique_key="held").active().count() == 1
    assert Job.objects.get(id=result.parent.id).state == "cancelled"
    assert Job.objects.get(id=result.id).error["reason"] == "upstream"
