"""What a running job says while it runs, and how agents learn of work: in threads with connections of their own."""

import datetime as dt
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from django.test import override_settings

from taskyard.errors import JobCancelled, JobFenced
from taskyard.execution import steering
from taskyard.jobs.models import Job
from taskyard.jobs.running import RunningJob
from taskyard.jobs.scribe import scribe
from taskyard.runtime import wakeup
from taskyard.runtime.wakeup import WORK_WRITTEN, Listener, wake
from tests.app import tasks
from tests.integration.shelf import put, start, statements
from tests.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)


@pytest.fixture
def running() -> Iterator[RunningJob]:
    """The job of an attempt that runs, as its body sees it."""
    claim = start(put(NOW, state="queued"), NOW)
    job = RunningJob(claim.id, claim.task, token=claim.token, attempt=claim.attempt)
    yield job
    scribe().forget(job)
    scribe().close()


@pytest.fixture
def writes() -> Iterator[list[str]]:
    """Statements that write a job, on connections opened during the test: those of the scribe's threads."""
    seen: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE"):
            seen.append(sql)
        return execute(sql, params, many, context)

    def watch(*, connection: Any, **_: Any) -> None:
        # MySQL's connection asks for its server's version on opening, which opens it.
        if note not in connection.execute_wrappers:
            connection.execute_wrappers.append(note)

    connection_created.connect(watch)
    yield seen
    connection_created.disconnect(watch)


def stored(job: RunningJob) -> Job:
    return Job.objects.get(id=job.id)


@override_settings(TASKYARD={"PROGRESS_INTERVAL": dt.timedelta(milliseconds=250)})
def test_progress_is_written_once_an_interval_however_often_it_is_said(running: RunningJob, writes: list[str]) -> None:
    began, said = time.monotonic(), 0

    def say() -> bool:
        nonlocal said
        for _ in range(50):
            said += 1
            running.progress(said, 10_000_000, f"step {said}")
        return len(writes) >= 4

    wait_until(say, 30, "four writes")

    # The first is written at once.
    assert time.monotonic() - began >= 3 * 0.25
    assert said > 200
    wait_until(lambda: stored(running).progress_current == said, 30, "the last value")
    job = stored(running)
    assert (job.progress_total, job.progress_message) == (10_000_000, f"step {said}")


def test_a_cancel_is_noticed_at_a_check(running: RunningJob) -> None:
    running.raise_if_cancelled()
    assert not running.is_cancelled

    assert steering.cancel([running.id], NOW) == 1

    wait_until(lambda: running.is_cancelled, 30, "the cancel is noticed")
    with pytest.raises(JobCancelled):
        list(running.track([1, 2, 3]))


def test_a_job_that_was_given_away_writes_nothing_and_its_next_check_raises(running: RunningJob) -> None:
    running.progress(1, 10)
    wait_until(lambda: stored(running).progress_current == 1, 30, "progress")
    # Another attempt has it: same state, another token.
    Job.objects.filter(id=running.id).update(claim=running.token ^ 1)

    with pytest.raises(JobFenced):
        running.save_checkpoint({"page": 7})
    running.progress(9, 10)
    with pytest.raises(JobFenced):
        running.raise_if_cancelled()

    job = stored(running)
    assert (job.progress_current, job.checkpoint) == (1, None)


def test_a_checkpoint_is_in_the_database_when_saving_returns(running: RunningJob) -> None:
    running.save_checkpoint({"page": 7})
    assert stored(running).checkpoint == {"page": 7}


def test_items_and_their_errors_are_counted(running: RunningJob) -> None:
    for item in running.track([1, 2, 3, 4]):
        if item % 2 == 0:
            running.item_failed(item, ValueError("even"))
    wait_until(lambda: (stored(running).counts or {}).get("succeeded") == 2, 30, "the counts")
    assert stored(running).counts == {
        "succeeded": 2,
        "failed": 2,
        "errors": [{"item": str(n), "error": "ValueError: even"} for n in (2, 4)],
    }


class Waiting(threading.Thread):
    """A listener at its wait."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = Listener(WORK_WRITTEN)
        self.ready, self.stop, self.woken_after = threading.Event(), threading.Event(), 0.0

    def run(self) -> None:
        # The first wait connects; on SQLite it notices the commits before it.
        self.listener.wait(0.01, self.stop)
        self.ready.set()
        began = time.monotonic()
        self.listener.wait(60, self.stop)
        self.woken_after = time.monotonic() - began
        self.listener.close()
        connections.close_all()


def test_a_listener_is_woken_by_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "_sent", {})
    waiting = Waiting()
    waiting.start()
    assert waiting.ready.wait(30)
    assert waiting.listener.is_deaf is (connection.vendor == "mysql")

    put(dt.datetime.now(dt.UTC))
    wake(WORK_WRITTEN)

    waiting.join(30)
    assert not waiting.is_alive()
    assert waiting.woken_after < 30


def test_a_burst_of_enqueues_sends_few_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL notifies")
    monkeypatch.setattr(wakeup, "_sent", {})
    sent: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        sent.append(sql)
        return execute(sql, params, many, context)

    began = time.monotonic()
    with connection.execute_wrapper(note):
        for _ in range(500):
            wake(WORK_WRITTEN)
    assert 1 <= len(sent) <= 1 + (time.monotonic() - began) / wakeup.PAUSE_SECONDS
    assert len(sent) < 250


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL notifies")
def test_no_notification_is_sent_inside_of_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "_sent", {})
    with statements() as seen:
        with transaction.atomic():
            tasks.nothing.enqueue(n=1)
            assert [sql.split()[0] for sql, _ in seen] == ["INSERT"]
        assert [sql.split("(")[0] for sql, _ in seen[1:]] == ["SELECT pg_notify"]


def test_a_loop_of_a_hundred_thousand_items_is_written_a_few_times_and_to_its_end(
    running: RunningJob, writes: list[str]
) -> None:
    began = time.monotonic()
    for _ in running.track(range(100_000), message="counting"):
        pass
    took = time.monotonic() - began
    # The first at once, then one each half second.
    assert len(writes) <= 2 + took / 0.5
    scribe().flush(running)
    job = stored(running)
    assert (job.progress_current, job.counts) == (100_000, {"succeeded": 100_000, "failed": 0})
