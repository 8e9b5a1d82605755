"""Jobs that run where they are enqueued (``CELERY_TASK_ALWAYS_EAGER``), as they would in a worker."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from celery import chord, group
from celery.exceptions import ChordError
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from taskyard import task
from taskyard.errors import NoCurrentJob, NotJson
from taskyard.jobs.current import current_job
from taskyard.models import Job
from tests.app import plain, tasks
from tests.app.models import Note
from tests.app.plain import breaks, double, gather
from tests.app.tasks import add, answer, flaky, retries

ran: list[object] = []


@task(name="app.remember_eagerly")
def remember(value: Any) -> Any:
    """Keeps what it got, and whether the transaction it was enqueued in is over."""
    ran.append((value, transaction.get_connection().in_atomic_block))
    return value


@task(name="app.enqueues_eagerly")
def outer() -> str:
    remember.enqueue(value="inner")
    ran.append("outer goes on")
    return "outer"


class History(TestCase):
    """The tasks of the tests write to the file the environment names."""

    @pytest.fixture(autouse=True)
    def _history(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TASKYARD_TEST_HISTORY", str(tmp_path / "history"))
        self.history = tmp_path / "history"
        ran.clear()


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
class InATestCase(History):
    """There is no commit to wait for."""

    def test_a_job_runs_at_once_and_leaves_its_row(self) -> None:
        job = tasks.note.enqueue(text="eager")

        row = Job.objects.get(id=job.id)
        self.assertEqual((row.state, row.attempt, row.result["text"]), ("succeeded", 1, "eager"))
        self.assertIsNotNone(row.started_at)
        self.assertEqual(Note.objects.get().text, "eager")
        self.assertEqual(add.delay(1, 2).get(timeout=1), 3)

    def test_arguments_and_results_go_through_json(self) -> None:
        remember.enqueue(value=(1, 2))
        self.assertEqual(ran[0][0], [1, 2])
        with self.assertRaises(NotJson):
            remember.enqueue(value={1})
        failed = tasks.not_json.delay()
        self.assertEqual(failed.state, "FAILURE")
        self.assertIn("JSON cannot store", str(failed.result))

    def test_retries_are_made_and_recorded(self) -> None:
        row = Job.objects.get(id=flaky.enqueue(succeed_at=3).id)
        self.assertEqual((row.state, row.result, row.attempts.count()), ("succeeded", 3, 2))
        self.assertEqual(retries.delay(2).get(timeout=1), 2)
        spent = Job.objects.get(id=flaky.enqueue(succeed_at=9).id)
        self.assertEqual((spent.state, spent.attempt, spent.error["type"]), ("failed", 3, "ValueError"))

    def test_canvases_run_to_their_end(self) -> None:
        self.assertEqual((add.s(1, 2) | double.s() | add.s(1)).apply_async().get(timeout=1), 7)
        self.assertEqual(group(double.s(1), double.s(2)).apply_async().get(timeout=1), [2, 4])
        self.assertEqual(chord([double.s(1), double.s(2)])(gather.s()).get(timeout=1), 6)
        self.assertEqual(plain.replaced_by.delay("chain", 1).get(timeout=1), 4)
        self.assertIsInstance(chord([double.s(1), breaks.s()])(gather.s()).result, ChordError)
        mark = "linked"
        double.apply_async((1,), link=plain.say.si(mark))
        breaks.apply_async(link_error=plain.on_error.s())
        self.assertIn(f"say {mark}", self.history.read_text())
        self.assertIn("ZeroDivisionError traceback", self.history.read_text())

    def test_a_job_enqueued_by_a_job_runs_after_it_as_its_child(self) -> None:
        job = outer.enqueue()
        self.assertEqual([one if isinstance(one, str) else one[0] for one in ran], ["outer goes on", "inner"])
        self.assertEqual(Job.objects.get(task="app.remember_eagerly").parent, job.id)

    def test_a_delay_is_not_waited_for_and_an_expired_job_is_cancelled(self) -> None:
        later = add.apply_async((1, 2), countdown=3600)
        self.assertEqual(later.get(timeout=1), 3)
        expired = add.apply_async((1, 2), expires=timezone.now() - dt.timedelta(hours=1))
        self.assertEqual(expired.state, "REVOKED")

    def test_a_failure_is_recorded_and_not_raised(self) -> None:
        self.assertEqual(breaks.delay().state, "FAILURE")
        self.assertEqual(Job.objects.get().error["type"], "ZeroDivisionError")

    @override_settings(CELERY_TASK_EAGER_PROPAGATES=True)
    def test_a_failure_is_raised_where_asked_for_and_recorded_all_the_same(self) -> None:
        with self.assertRaisesMessage(ZeroDivisionError, "as asked"):
            breaks.delay()
        self.assertEqual(Job.objects.get().state, "failed")
        # The error of a retry that is not the last one is none.
        self.assertEqual(flaky.enqueue(succeed_at=2).created, True)
        self.assertEqual(Job.objects.get(task="app.flaky").state, "succeeded")

    def test_a_savepoint_that_is_rolled_back_takes_the_job_along(self) -> None:
        with self.assertRaises(KeyError), transaction.atomic():
            answer.enqueue(value=1)
            raise KeyError
        self.assertFalse(Job.objects.exists())


class WithoutTheSetting(History):
    def test_calling_a_task_runs_its_body_without_a_job(self) -> None:
        self.assertEqual(answer(5), 5)
        self.assertEqual(add(1, 2), 3)
        self.assertEqual(double.apply((4,)).get(), 8)
        with self.assertRaises(NoCurrentJob):
            flaky(succeed_at=1)
        self.assertFalse(Job.objects.exists())

    def test_a_bare_override_turns_it_on_and_off(self) -> None:
        self.assertEqual(Job.objects.get(id=answer.enqueue(1).id).state, "pending")
        with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
            self.assertEqual(Job.objects.get(id=answer.enqueue(2).id).state, "succeeded")
        self.assertEqual(Job.objects.get(id=answer.enqueue(3).id).state, "pending")

    def test_there_is_no_current_job_outside_of_one(self) -> None:
        with self.assertRaises(NoCurrentJob):
            current_job()


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
class InATransactionTestCase(TransactionTestCase):
    """Transactions are real, so jobs wait for their commit."""

    def setUp(self) -> None:
        ran.clear()

    def test_a_job_runs_after_the_commit_and_not_before(self) -> None:
        with transaction.atomic():
            job = remember.enqueue(value=1)
            remember.delay(value=2)
            self.assertEqual(ran, [])
            self.assertEqual(Job.objects.get(id=job.id).state, "pending")
        self.assertEqual(ran, [(1, False), (2, False)])
        self.assertEqual(set(Job.objects.values_list("state", flat=True)), {"succeeded"})

    def test_a_rollback_runs_nothing_and_leaves_nothing(self) -> None:
        with self.assertRaises(KeyError), transaction.atomic():
            remember.enqueue(value=1)
            remember.delay(value=2)
            raise KeyError
        self.assertEqual(ran, [])
        self.assertFalse(Job.objects.exists())

    def test_without_a_transaction_it_runs_at_once(self) -> None:
        remember.enqueue(value=1)
        self.assertEqual(ran, [(1, False)])
        self.assertEqual(chord([double.s(1), double.s(2)])(gather.s()).get(timeout=1), 6)
