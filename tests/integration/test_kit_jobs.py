"""The test kit, in Django's ``TestCase``: what was enqueued, what runs when it is asked to, what failures show."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord
from django.contrib.auth.models import User
from django.core import mail
from django.db import IntegrityError, transaction
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from taskyard import RetryPolicy, Snooze, current_job, task
from taskyard.errors import DuplicateJob, TaskyardError
from taskyard.execution import steering
from taskyard.models import Job
from taskyard.testing import TaskyardTestMixin, enqueued, faults
from tests.app import tasks
from tests.app.models import Note
from tests.app.plain import double, gather

HOUR = dt.timedelta(hours=1)


@task(name="app.kit_note")
def note(text: str, loud: bool = False) -> str:
    Note.objects.create(text=text)
    return text


@task(name="app.kit_note_once")
def note_once(text: str) -> None:
    Note.objects.get_or_create(text=text)


@task(name="app.kit_hook")
def hook(text: str) -> None:
    """Leaves something for the commit, and something for one that never comes."""
    with transaction.atomic():
        Note.objects.create(text="before")
        transaction.on_commit(lambda: note.enqueue(text=text) and None)
    try:
        with transaction.atomic():
            transaction.on_commit(lambda: note.enqueue(text="never") and None)
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass


class Kit(TaskyardTestMixin, TestCase):
    def fails(self, *lines: str) -> Any:
        return self.assertRaisesRegex(AssertionError, "(?s)" + ".*".join(lines))


class Asserting(Kit):
    def test_a_call_is_found_however_it_passed_its_arguments(self) -> None:
        jobs = [note.enqueue("a"), note.enqueue(text="b", loud=True), tasks.add.delay(1, y=2)]
        self.assertEqual(self.assert_enqueued(note).id, jobs[0].id)
        self.assertEqual(self.assert_enqueued(note, {"text": "b"}).id, jobs[1].id)
        self.assertEqual(self.assert_enqueued(note, args=["a"]).id, jobs[0].id)
        # A default is an argument as well.
        self.assertEqual(self.assert_enqueued(note, {"text": "a", "loud": False}).id, jobs[0].id)
        self.assertEqual(str(self.assert_enqueued("tests.app.tasks.add", {"x": 1}, args=()).id), jobs[2].id)
        self.assert_enqueued(tasks.add, args=(1, 2), count=1)
        self.assertEqual([job.id for job in self.enqueued(note)], [jobs[0].id, jobs[1].id])
        self.assertEqual(len(self.enqueued()), 3)

    def test_tuples_are_found_as_the_lists_they_become(self) -> None:
        tasks.answer.enqueue(value=(1, {"a": (2, 3)}))
        self.assert_enqueued(tasks.answer, {"value": (1, {"a": (2, 3)})})

    def test_a_failure_shows_what_was_enqueued_instead(self) -> None:
        with self.fails("app.kit_note was not enqueued", "Nothing was enqueued"):
            self.assert_enqueued(note)
        note.using(queue_name="slow", tenant="acme", run_after=HOUR).enqueue("a" * 200)
        for _ in range(25):
            tasks.nothing.enqueue(n=1)
        with self.fails(
            r"app.kit_note\(text='b'\), queue='slow' was not enqueued", r"app.kit_note\('aaaa+…\)  queue=slow",
            "run_after=", "tenant=acme", "pending", r"app.nothing\(n=1\)", "and 6 more",
        ):  # fmt: skip
            self.assert_enqueued(note, {"text": "b"}, queue="slow")
        with self.fails("was not enqueued 2 times but 1"):
            self.assert_enqueued(note, count=2)
        with self.assertRaisesMessage(TaskyardError, "assert_not_enqueued"):
            self.assert_enqueued(note, count=0)
        with self.assertRaisesMessage(TaskyardError, "is no task"):
            self.assert_enqueued(len)

    def test_what_is_said_about_a_job_is_looked_at(self) -> None:
        user = User.objects.create(username="ada")
        call = {"queue": "slow", "tenant": "acme", "subject": user, "run_after": HOUR}
        note.using(queue_name="slow", tenant="acme", subject=user, run_after=HOUR).enqueue("a")
        self.assert_enqueued(note, **call)
        self.assert_enqueued(note, run_after=timezone.now() + HOUR)
        other = User.objects.create(username="bob")
        for name, value in {"queue": "fast", "tenant": "", "subject": other, "run_after": HOUR / 2}.items():
            with self.fails("was not enqueued"):
                self.assert_enqueued(note, **{name: value})
        tasks.add.apply_async((1, 2), countdown=60)
        self.assert_enqueued(tasks.add, run_after=dt.timedelta(seconds=60))

    def test_what_must_not_be_there(self) -> None:
        self.assert_not_enqueued()
        note.enqueue("a")
        self.assert_not_enqueued(tasks.nothing)
        self.assert_not_enqueued(note, {"text": "b"})
        with self.fails(r"app.kit_note\(text='a'\) was enqueued:", r"app.kit_note\('a'\)"):
            self.assert_not_enqueued(note, {"text": "a"})
        with self.fails("any task was enqueued"):
            self.assert_not_enqueued()

    def test_a_duplicate_is_refused_by_return_and_by_error(self) -> None:
        first = tasks.once.enqueue(key="a")
        self.assertEqual(self.assert_duplicate(tasks.once, {"key": "a"}, of=first).id, first.id)
        held = tasks.once_or_raise.enqueue(key="a")
        self.assert_duplicate(tasks.once_or_raise, args=["a"], of=held)
        with self.fails("was refused for app.once", "not for app.once_or_raise"):
            self.assert_duplicate(tasks.once, {"key": "a"}, of=held)
        with self.fails(r"app.once\(key='b'\) became a job of its own", "Enqueued", r"app.once\(key='a'\)"):
            self.assert_duplicate(tasks.once, {"key": "b"})
        with self.assertRaises(DuplicateJob):
            tasks.once_or_raise.enqueue(key="a")

    def test_a_state_that_is_not_there_is_explained(self) -> None:
        job = tasks.flaky.enqueue(succeed_at=9)
        self.assert_state(job, "pending")
        self.run_jobs(raise_errors=False)
        self.assertEqual(self.assert_state(job.id, "failed", error=ValueError).attempt, 3)
        with self.fails("is not succeeded: it is failed", "ValueError: attempt 3 fails", "attempt 3 ended so", "Trace"):
            self.assert_state(job, "succeeded")
        with self.fails("is not failed, KeyError"):
            self.assert_state(job, "failed", error=KeyError)
        gone = tasks.steer.delay("discard")
        self.run_jobs()
        self.assert_state(gone, "cancelled", reason="discarded")
        with self.fails("is not cancelled, reason 'expired'", "reason 'discarded'"):
            self.assert_state(gone, "cancelled", reason="expired")
        with self.assertRaisesMessage(TaskyardError, "'done' is no state"):
            self.assert_state(job, "done")
        with self.assertRaisesMessage(TaskyardError, "is no job"):
            self.assert_state(17, "failed")
        with self.fails("is not in the table"):
            self.assert_state("report-17", "failed")


class Running(Kit):
    def test_jobs_run_in_turn_with_what_follows_from_them(self) -> None:
        low, high = note.enqueue("low"), note.using(priority=5).enqueue("high")
        total = chain(tasks.add.s(1, 2), double.s()).delay()
        both = chord([double.s(1), double.s(2)])(gather.s())
        ran = self.run_jobs()
        self.assertEqual([job.id for job in ran[:2]], [high.id, low.id])
        self.assertEqual((total.get(timeout=1), both.get(timeout=1)), (6, 6))
        self.assertEqual({job.state for job in ran}, {"succeeded"})
        self.assertEqual(len(ran), len(enqueued()))
        self.assertEqual(self.run_jobs(), [])

    def test_what_is_not_due_waits_and_retries_come_at_once_unless_they_are_to_wait(self) -> None:
        later = note.using(run_after=HOUR).enqueue("later")
        job = tasks.flaky.enqueue(succeed_at=3)
        self.assertEqual([one.id for one in self.run_jobs(retries=False)], [job.id])
        self.assert_state(job, "retrying")
        self.assertEqual([one.id for one in self.run_jobs()], [job.id])
        self.assertEqual(self.assert_state(job, "succeeded").attempts.count(), 2)
        self.assert_state(later, "pending")
        self.run_jobs(delayed=True)
        self.assert_state(later, "succeeded")

    def test_an_error_of_a_task_reaches_the_test_and_the_others_run_in_the_next_call(self) -> None:
        bad, good = tasks.boom.delay(), note.enqueue("good")
        with self.assertRaisesMessage(RuntimeError, "boom"):
            self.run_jobs()
        self.assert_state(bad, "failed")
        self.assertEqual([job.id for job in self.run_jobs()], [good.id])
        worse = tasks.boom.delay()
        self.assertEqual([str(job.id) for job in self.run_jobs(raise_errors=False)], [worse.id])

    def test_jobs_without_end_are_noticed(self) -> None:
        @task(name="app.kit_endless")
        def endless() -> None:
            raise Snooze(dt.timedelta(0))

        endless.enqueue()
        with self.fails("5 attempts were run"):
            self.run_jobs(limit=5)

    def test_a_body_that_breaks_a_constraint_fails_its_own_statement_alone(self) -> None:
        @task(name="app.kit_breaks_a_constraint")
        def clash() -> str:
            User.objects.create(username="first")
            try:
                User.objects.create(username="first")
            except IntegrityError:
                # Outside of a transaction this is over and done with.
                return str(User.objects.filter(username="first").count())
            return "no error"

        job = clash.enqueue()
        self.run_jobs()
        self.assertEqual(self.assert_state(job, "succeeded").result, "1")

    def test_a_body_reports_saves_and_asks_as_in_a_worker(self) -> None:
        @task(name="app.kit_tracks", retry=RetryPolicy(max_retries=1))
        def tracks() -> Any:
            job = current_job()
            job.save_checkpoint("saved")
            # Of the test's transaction, as everything here: no other connection would see it.
            written = Job.objects.values_list("checkpoint", flat=True).get(id=job.id)
            for _ in job.track("abc"):
                job.raise_if_cancelled()
            return [written, job.is_cancelled]

        done = self.assert_state(tracks.enqueue(), "pending")
        self.run_jobs()
        done.refresh_from_db()
        self.assertEqual((done.state, done.result, done.counts["succeeded"]), ("succeeded", ["saved", False], 3))
        self.assertEqual((done.progress_current, done.progress_total), (3, 3))

    def test_a_body_that_is_cancelled_meanwhile_stops(self) -> None:
        @task(name="app.kit_cancels")
        def cancels() -> None:
            job = current_job()
            steering.cancel([job.id], timezone.now())
            job.raise_if_cancelled()

        job = cancels.enqueue()
        self.run_jobs()
        self.assert_state(job, "cancelled", reason="cancelled")

    @override_settings(TASKYARD={"HANDOVER": ["elsewhere"]})
    def test_jobs_of_other_programs_are_left_alone(self) -> None:
        job = note.using(queue_name="elsewhere").enqueue("a")
        self.assertEqual(self.run_jobs(), [])
        self.assert_state(job, "pending")


class Committing(Kit):
    def test_what_is_enqueued_on_commit_is_there_after_the_commit(self) -> None:
        transaction.on_commit(lambda: note.enqueue("a") and None)
        with self.fails("Nothing was enqueued", "1 functions wait for the commit", r"commit\(\)"):
            self.assert_enqueued(note)
        self.commit()
        self.assert_enqueued(note, count=1)
        self.commit()
        self.run_jobs()
        self.assert_enqueued(note, count=1)

    def test_a_drain_commits_first_and_after_each_body(self) -> None:
        transaction.on_commit(lambda: hook.enqueue(text="second") and None)
        self.assertEqual([job.task for job in self.run_jobs()], ["app.kit_hook", "app.kit_note"])
        self.assertEqual([one.text for one in Note.objects.order_by("id")], ["before", "second"])

    def test_what_is_not_committed_is_not_run(self) -> None:
        with transaction.atomic():
            note.enqueue("a")
            for act in (self.run_jobs, self.commit):
                with self.assertRaisesMessage(TaskyardError, "leave atomic() first"):
                    act()
        self.assertEqual(len(self.run_jobs()), 1)

    def test_djangos_own_captures_still_count_right(self) -> None:
        called: list[str] = []
        with self.captureOnCommitCallbacks(execute=True) as captured:
            transaction.on_commit(lambda: called.append("one"))
            self.commit()
            transaction.on_commit(lambda: called.append("two"))
        self.assertEqual((called, len(captured)), (["one", "two"], 2))

    def test_a_robust_function_that_fails_stops_nothing_and_another_does(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        transaction.on_commit(fail, robust=True)
        with self.assertLogs("taskyard", "ERROR"):
            self.commit()
        transaction.on_commit(fail)
        with self.assertRaises(ZeroDivisionError):
            self.commit()

    @override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_EAGER_PROPAGATES=True)
    def test_a_bare_override_runs_at_once_on_commit_included(self) -> None:
        hook.enqueue(text="second")
        self.assertEqual([one.text for one in Note.objects.order_by("id")], ["before", "second"])
        with self.assertRaisesMessage(RuntimeError, "boom"):
            tasks.boom.delay()

    def test_eager_from_here_on(self) -> None:
        self.assert_state(note.enqueue("a"), "pending")
        self.run_eagerly()
        self.assert_state(note.enqueue("b"), "succeeded")
        with self.assertRaisesMessage(RuntimeError, "boom"):
            tasks.boom.delay()


class InATransactionTestCase(TaskyardTestMixin, TransactionTestCase):
    def test_jobs_run_when_asked_and_hooks_have_been_called_by_the_commit(self) -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: note.enqueue("b") and None)
            note.enqueue("a")
        self.assertEqual(len(self.run_jobs()), 2)
        self.assertEqual(self.commit(), 0)


class Dying(Kit):
    @pytest.fixture(autouse=True)
    def _history(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TASKYARD_TEST_HISTORY", str(tmp_path / "history"))

    def test_a_worker_that_dies_makes_the_job_run_again_and_what_follows_once(self) -> None:
        for point, runs in (("job.claimed", 1), ("body.ended", 2), ("settle.moved", 2), ("settle.done", 1)):
            Note.objects.all().delete()
            job = note.apply_async(("died",), link=double.si(1))
            with faults.dying(point):
                self.run_jobs()
            self.assertEqual((point, Note.objects.count()), (point, runs))
            done = self.assert_state(job, "succeeded")
            lost = [one.error_type for one in done.attempts.all()]
            self.assertEqual(lost, [] if point == "settle.done" else ["WorkerLost"])
            self.assertEqual(Job.objects.filter(root=done.id).exclude(id=done.id).count(), 1)

    def test_a_point_that_nothing_gets_to_is_no_proof(self) -> None:
        with self.fails("No attempt got to the fault point 'body.ended'"), faults.dying("body.ended"):
            pass


@task(name="app.kit_welcome")
def welcome(user: int) -> None:
    # As the backend of tests does it: what sends mails by default is another matter from one Django to the next.
    mail.outbox.append(mail.EmailMessage("welcome", "hello", None, [f"{user}@example.org"]))


@task(name="app.kit_count")
def count_up(user: int) -> None:
    one = User.objects.get(id=user)
    one.last_name = f"{one.last_name}x"
    one.save()


@task(name="app.kit_goes_on")
def goes_on(text: str) -> None:
    note_once.enqueue(text=text)


@task(name="app.kit_resumes")
def resumes(text: str) -> None:
    job = current_job()
    if not job.checkpoint:
        Note.objects.create(text=text)
        job.checkpoint = True


@task(name="app.kit_second_fails", retry=RetryPolicy(max_retries=0))
def second_fails(text: str) -> None:
    if Note.objects.filter(text=text).exists():
        raise ValueError("it is there already")
    Note.objects.create(text=text)


class RunningTwice(Kit):
    def test_a_task_that_may_run_twice_passes(self) -> None:
        job = self.assert_idempotent(note_once, {"text": "a"})
        self.assertEqual((job.state, job.attempt), ("succeeded", 2))
        self.assert_idempotent(tasks.add, args=(1, 2))
        self.assert_idempotent("tests.app.tasks.add", args=(1, 2))

    def test_a_second_row_mail_job_or_change_is_seen_and_shown(self) -> None:
        user = User.objects.create(username="ada")
        with self.fails(r"app.kit_note\(text='a'\) is not safe to run twice", r"\+ app.Note: .*'text': 'a'"):
            self.assert_idempotent(note, {"text": "a"})
        with self.fails(r"\+ mail: 'welcome' to 7@example.org"):
            self.assert_idempotent(welcome, args=[7])
        with self.fails(r"\+ job: .*app.kit_note_once"):
            self.assert_idempotent(goes_on, {"text": "a"})
        with self.fails(r"\+ auth.User: .*'xx'", r"- auth.User: .*'x'"):
            self.assert_idempotent(count_up, {"user": user.id})

    def test_only_what_a_project_observes_counts_if_it_says_what(self) -> None:
        self.assert_idempotent(note, {"text": "a"}, observe=lambda: Note.objects.filter(text="b"))
        with self.fails("After one run: 1", "After two runs: 2"):
            self.assert_idempotent(note, {"text": "b"}, observe=Note.objects.filter(text="b").count)

    def test_runs_that_fail_are_told_apart(self) -> None:
        with self.fails("failed in its first run: RuntimeError: boom"):
            self.assert_idempotent(tasks.boom)
        with self.fails("second run failed: ValueError: it is there already"):
            self.assert_idempotent(second_fails, {"text": "a"})

    def test_a_report_that_had_not_been_written_is_lost_with_the_worker(self) -> None:
        with self.fails("app.Note"):
            self.assert_idempotent(resumes, {"text": "a"})

    @override_settings(CELERY_TASK_ALWAYS_EAGER=True)
    def test_it_runs_twice_where_jobs_run_at_once_as_well(self) -> None:
        with self.fails("not safe to run twice"):
            self.assert_idempotent(note, {"text": "a"})
