"""The watchdog's rule: who is deaf, who only has nothing to do, and what follows when."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state as worker_state
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from taskyard.celery.worker import watchdog
from taskyard.celery.worker.watchdog import Watchdog
from taskyard.jobs.models import Job
from taskyard.settings import get_settings
from tests.app import tasks

pytestmark = pytest.mark.django_db

LIMIT = 20.0


class Worker:
    """The parts of a Celery worker that the watchdog looks at, and a clock."""

    def __init__(self) -> None:
        self.clock = 1000.0
        self.concurrency, self.pool, self.hostname = 2, None, "w@here"
        self.consumer = SimpleNamespace(
            received=5, is_connecting=False, task_buckets={}, connection=None, event_dispatcher=None
        )
        queue = SimpleNamespace(alias=None, name="celery")
        self.app = SimpleNamespace(_pool=None, amqp=SimpleNamespace(queues=SimpleNamespace(consume_from={"": queue})))
        self.done: list[str] = []
        self.agent = Watchdog(self, monotonic=lambda: self.clock)

    def after(self, seconds: float) -> list[str]:
        """What was done in this time, with a look every few seconds."""
        pause = self.agent.pause(0, is_deaf=True).total_seconds()
        end, self.done = self.clock + seconds, []
        while self.clock < end:
            self.clock += pause
            self.agent.run_once(timezone.now())
        return self.done


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = Worker()
    monkeypatch.setattr(watchdog, "cut", lambda connections: made.done.append("cut"))
    monkeypatch.setattr(Watchdog, "_end", lambda self: made.done.append("end"))
    assert get_settings().reconnect_after == dt.timedelta(seconds=LIMIT)
    return made


@pytest.fixture
def queued(db: None) -> Job:
    """A job that stands queued."""
    job = tasks.note.enqueue(text="queued")
    Job.objects.filter(id=job.id).update(state="queued", publishes=1)
    return Job.objects.get(id=job.id)


def publish_again(job: Job) -> None:
    Job.objects.filter(id=job.id).update(publishes=Job.objects.get(id=job.id).publishes + 1)


def test_a_deaf_worker_connects_anew_and_ends_if_that_does_not_help(worker: Worker, queued: Job) -> None:
    assert worker.after(LIMIT) == []
    assert worker.after(LIMIT / 2) == ["cut"]
    publish_again(queued)
    # Published again, but before the new connections were watched.
    assert worker.after(LIMIT / 2) == []
    publish_again(queued)
    assert worker.after(LIMIT) == ["end"]


def test_it_connects_anew_once_where_nobody_publishes_what_it_misses(worker: Worker, queued: Job) -> None:
    assert worker.after(LIMIT * 10) == ["cut"]


def test_whatever_comes_is_a_sign_that_it_hears(worker: Worker, queued: Job) -> None:
    for _ in range(10):
        assert worker.after(LIMIT * 0.75) == []
        worker.consumer.received += 1
    assert worker.after(LIMIT * 2) == ["cut"]
    worker.consumer.received += 1
    publish_again(queued)
    assert worker.after(LIMIT * 2) == ["cut"]


def test_other_jobs_that_stand_queued_in_turn_mean_that_others_take_them(worker: Worker, queued: Job) -> None:
    for _ in range(10):
        Job.objects.filter(state="queued").delete()
        job = tasks.note.enqueue(text="the next")
        Job.objects.filter(id=job.id).update(state="queued", publishes=1)
        assert worker.after(LIMIT * 0.75) == []


def test_jobs_of_queues_it_does_not_consume_do_not_count(worker: Worker, queued: Job) -> None:
    Job.objects.update(queue="elsewhere")
    assert worker.after(LIMIT * 3) == []
    worker.app.amqp.queues.consume_from = {}
    Job.objects.update(queue="celery")
    assert worker.after(LIMIT * 3) == []


def test_a_worker_that_is_trying_to_connect_knows_that_it_is_deaf(worker: Worker, queued: Job) -> None:
    worker.consumer.is_connecting = True
    assert worker.after(LIMIT * 3) == []
    worker.consumer.is_connecting = False
    assert worker.after(LIMIT * 0.75) == []
    assert worker.after(LIMIT) == ["cut"]


def test_a_worker_with_every_slot_taken_is_not_asked_for_and_asks_nothing(
    worker: Worker, queued: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_state, "reserved_requests", {1, 2})
    with CaptureQueriesContext(connection) as asked:
        assert worker.after(LIMIT * 3) == []
    assert len(asked) == 0
    # One running, one held back by a rate limit: Celery takes no more messages than that.
    monkeypatch.setattr(worker_state, "reserved_requests", {1})
    bucket: Any = SimpleNamespace(contents=["held back"])
    worker.consumer.task_buckets = {"slow": bucket, "without a limit": None}
    assert worker.after(LIMIT * 3) == []
    bucket.contents.clear()
    assert worker.after(LIMIT * 3) == ["cut"]


def test_a_worker_that_is_stopping_is_left_alone(worker: Worker, queued: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_state, "should_stop", 0)
    assert worker.after(LIMIT * 3) == []


def test_an_error_of_its_own_lets_it_watch_anew(worker: Worker, queued: Job) -> None:
    for _ in range(5):
        assert worker.after(LIMIT * 0.75) == []
        worker.agent.interrupted()


def test_an_idle_look_is_one_short_query(worker: Worker) -> None:
    with CaptureQueriesContext(connection) as asked:
        assert worker.agent.run_once(timezone.now()) == 0
        worker.agent.run_once(timezone.now())
    assert len(asked) == 1
