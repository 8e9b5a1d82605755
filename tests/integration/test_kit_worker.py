"""The test kit's worker: a real one, in threads of the test's own process."""

import datetime as dt
import threading
from typing import Any
from unittest import mock

import pytest
from celery import chain
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from taskyard import task
from taskyard.errors import TaskyardError
from taskyard.models import Job, Worker
from taskyard.testing import TaskyardTestMixin, worker
from tests.app import tasks
from tests.app.plain import double

threads: list[str] = []


@task(name="app.kit_where")
def where() -> str:
    threads.append(threading.current_thread().name)
    return connection.alias


class BesideATest(TaskyardTestMixin, TransactionTestCase):
    def test_jobs_run_after_their_commit_in_a_thread_of_the_worker(self) -> None:
        threads.clear()
        started = self.start_worker()
        with transaction.atomic():
            job = where.enqueue()
            retried = tasks.flaky.enqueue(succeed_at=2)
            both = chain(tasks.add.s(1, 2), double.s()).delay()
        self.assertEqual(started.wait_for(job).result, "default")
        self.assertNotEqual(threads, [threading.current_thread().name])
        self.assertEqual(started.wait_for(retried, "succeeded").attempt, 2)
        self.assertEqual(both.get(timeout=10), 6)
        started.wait_until_idle()
        self.assertEqual(Worker.objects.count(), 1)
        late = tasks.nothing.using(run_after=dt.timedelta(hours=1)).enqueue()
        for ask in (
            lambda: started.wait_for(late, timeout_seconds=0),
            lambda: started.wait_until_idle(timeout_seconds=0),
        ):
            with self.assertRaisesRegex(AssertionError, "pending"):
                ask()

    def test_it_leaves_nothing_behind_and_another_can_start(self) -> None:
        before = set(threading.enumerate())
        for _ in range(2):
            with worker(["celery"]) as started:
                self.assertEqual(started.wait_for(tasks.answer.enqueue(value=1)).result, 1)
        self.assertEqual(Worker.objects.count(), 0)
        left = [one for one in threading.enumerate() if one not in before and one.name.startswith("taskyard-")]
        self.assertEqual([one.name for one in left], [])

    def test_one_that_cannot_come_up_says_so(self) -> None:
        with mock.patch("taskyard.celery.worker.embedded.WorkController", side_effect=OSError("no pool")):
            with self.assertRaisesMessage(TaskyardError, "did not come up") as raised, worker():
                pass
        self.assertIsInstance(raised.exception.__cause__, OSError)

    def test_one_within_a_transaction_is_refused(self) -> None:
        with self.assertRaisesMessage(TaskyardError, "leave it before"), transaction.atomic():
            self.start_worker()


class InATestCase(TaskyardTestMixin, TestCase):
    def test_it_is_refused(self) -> None:
        with self.assertRaisesMessage(TaskyardError, "use TransactionTestCase"):
            self.start_worker()


@pytest.mark.django_db(transaction=True)
def test_a_database_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    memory: Any = type(
        "Memory", (), {"vendor": "sqlite", "is_in_memory_db": lambda self: True, "in_atomic_block": False}
    )()
    monkeypatch.setattr("taskyard.testing.cases.worker.connections", {"default": memory})
    with pytest.raises(TaskyardError, match="in a file"), worker():
        pass
    assert not Job.objects.exists()
