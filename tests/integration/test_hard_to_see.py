"""Situations that need two things to happen at once, each told as it would go wrong."""

import datetime as dt
import os
import uuid
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from celery import chain, chord
from celery.exceptions import TaskRevokedError
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from taskyard.celery import get_app
from taskyard.celery.attempt.connections import discard_left_open, open_blocks
from taskyard.celery.attempt.executor import Delivery
from taskyard.celery.results import chords
from taskyard.celery.worker import request
from taskyard.celery.worker.settler import Death, Foreign, PutBack, Settler, is_gone
from taskyard.errors import PublishFailed
from taskyard.execution import steering
from taskyard.execution.rescuer import Rescuer
from taskyard.jobs.rows.sql import Sql
from taskyard.models import Canvas, Job, Worker
from taskyard.outbox.feeder import Feeder
from taskyard.outbox.outgoing import Outgoing
from taskyard.outbox.sweep import Sweep
from tests.app import tasks
from tests.app.models import Note
from tests.integration.shelf import Shelf, put

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


def test_an_atomic_block_that_a_task_entered_and_did_not_leave_is_undone(caplog: pytest.LogCaptureFixture) -> None:
    left = transaction.atomic()
    left.__enter__()
    Note.objects.create(text="never")

    discard_left_open()

    assert (connection.connection, connection.in_atomic_block) == (None, False)
    assert not Note.objects.exists()
    with transaction.atomic():
        Note.objects.create(text="kept")
    assert Note.objects.get().text == "kept"
    assert "left a transaction on 'default' open" in caplog.text


def test_a_block_in_which_a_job_began_is_left_alone() -> None:
    with transaction.atomic():
        discard_left_open(open_blocks())
        Note.objects.create(text="kept")
    assert Note.objects.get().text == "kept"


def test_a_process_of_somebody_else_with_a_dead_childs_number_is_not_ours() -> None:
    assert is_gone(os.getppid())
    assert is_gone(2**22 + 1)


def test_a_duplicate_of_a_unique_task_in_a_chain_ends_the_chain_for_all_to_see() -> None:
    tasks.once.enqueue(key="held")

    result = chain(tasks.once.s(key="held"), tasks.answer.s()).delay()

    assert Job.objects.filter(unique_key="held").active().count() == 1
    assert Job.objects.get(id=result.parent.id).state == "cancelled"
    assert Job.objects.get(id=result.id).error["reason"] == "upstream"


@override_settings(TASKYARD={"HANDOVER": ["elsewhere"]})
def test_a_job_that_was_handed_over_gives_its_unique_key_free() -> None:
    tasks.once.using(queue_name="elsewhere").enqueue(key="k")
    Feeder(uuid.uuid4(), Shelf()).run_once(timezone.now())

    assert tasks.once.using(queue_name="elsewhere").enqueue(key="k").created


def test_a_queue_that_cannot_be_published_does_not_starve_the_others() -> None:
    class Picky(Shelf):
        def publish(self, batch: Sequence[Outgoing], *, together: int = 1) -> Sequence[Outgoing]:
            return batch if batch[0].queue == "a" else super().publish(batch)

    shelf = Picky()
    feeder = Feeder(uuid.uuid4(), shelf)
    now = timezone.now()
    put(now, queue="a")
    other = put(now, queue="b")
    with pytest.raises(PublishFailed):
        feeder.run_once(now)
    with pytest.raises(PublishFailed):
        feeder.run_once(now)

    assert shelf.ids() == [other.id]


def test_an_overdue_job_that_was_refused_again_stays_overdue() -> None:
    now = timezone.now()
    job = put(now, state="queued", publishes=1, published_at=now - dt.timedelta(seconds=60))

    assert Sweep(Shelf(refuses=1)).run(Sql("default"), "celery", now, everything=False, has_idle_slots=True) == 0

    job.refresh_from_db()
    assert (job.publishes, job.published_at) == (1, now - dt.timedelta(seconds=60))


def test_a_message_that_cannot_become_a_job_does_not_end_the_settler() -> None:
    given_up: list[str] = []
    settler = Settler()
    settler.submit(
        Foreign(get_app(), "no task's body", {"id": "x", "task": "t"}, "celery", lambda: given_up.append("x"))
    )
    settler.submit(PutBack(uuid.uuid4(), "app.gone"))
    settler.start()
    settler.finish(timeout=20.0)

    assert given_up == ["x"]
    assert not settler.is_alive()
    assert settler.work.empty()


def test_what_leaves_the_executor_in_a_threads_pool_reaches_the_settler(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Death] = []
    monkeypatch.setattr(request, "settler", lambda: SimpleNamespace(submit=told.append))
    delivery = Delivery(str(uuid.uuid4()), "app.nothing", 7, "not a worker's id", "host", {})

    failed, _, _ = request.execute_here(delivery)

    assert failed
    assert [(str(death.job_id), death.token, death.pid) for death in told] == [(delivery.job_id, 7, None)]
