"""Work that views and admin actions start once, and rows that follow it."""

import datetime as dt
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.test import RequestFactory
from django.utils import timezone

from taskyard import Batch, DuplicateBatch, enqueue_once
from taskyard.batches.teller import Teller
from taskyard.errors import NotInStep
from taskyard.execution import steering
from taskyard.execution.claim import Claim
from taskyard.execution.outcome import Cancelled, Failed, Outcome, RetryAt, Succeeded, Trouble
from taskyard.execution.settle import Effects, settle
from taskyard.integrations.guard import Guard, aguard, guard
from taskyard.jobs.models import Job
from taskyard.testing import faults
from tests.app import tasks
from tests.app.models import Import, Note
from tests.integration.shelf import and_close, start, statements, wait_for_blocked

pytestmark = pytest.mark.django_db(transaction=True)


def now() -> dt.datetime:
    return timezone.now()


def begin(job: Job) -> Claim:
    Job.objects.filter(id=job.id).update(state="queued", due=True)
    return start(job, now())


def body(answer: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(answer.content)
    return said


@pytest.fixture
def note() -> Note:
    return Note.objects.create(text="rfp")


# -- the guard


def test_a_double_click_starts_one_job_and_the_view_answers_as_it_likes(note: Note, settings: Any) -> None:
    request = RequestFactory().post("/")
    request.user = User.objects.create_user("ada")
    first, second = guard(request, tasks.answer, note, value=1), guard(request, tasks.answer, note, value=2)
    assert (first.created, second.created) == (True, False)
    assert first.job.id == second.job.id == Job.objects.get().id
    assert (first.job.created_by, first.job.subject_id) == (str(request.user.pk), str(note.pk))
    assert first.response().status_code == 202
    assert second.response().status_code == 409
    assert second.response(status=400, url="/jobs/").status_code == 400
    about = {"job": str(first.job.id), "state": "pending", "created": False, "detail": second.sentence}
    assert body(second.response(url="/x")) == {**about, "url": "/x"}
    settings.TASKYARD = {**settings.TASKYARD, "DUPLICATE_STATUS": 423}
    assert second.response().status_code == 423


def test_both_are_led_to_the_one_that_runs(note: Note) -> None:
    first, second = (guard(None, tasks.answer, note, value=1) for _ in range(2))
    for one in (first, second):
        answer = one.redirect(lambda job: f"/jobs/{job.id}/")
        assert (answer.status_code, answer["Location"]) == (302, f"/jobs/{first.job.id}/")
    assert second.redirect("/progress/")["Location"] == "/progress/"
    assert (first.sentence, second.sentence) == ("app.answer was started.", "app.answer is already running.")


def test_another_subject_another_task_and_the_next_time_are_another_job(note: Note) -> None:
    other, request = Note.objects.create(text="other"), RequestFactory().get("/")
    request.user = AnonymousUser()
    first = guard(request, tasks.answer, note, value=1)
    assert guard(request, tasks.answer, other, value=1).created
    assert guard(request, tasks.nothing, note).created
    claim = begin(first.job)
    assert not guard(request, tasks.answer, note, value=1).created
    settle(claim, Failed(Trouble("ValueError")), now())
    again = guard(request, tasks.answer, note, value=1)
    assert again.created
    # An operator's retry of the one that failed would be a second one.
    assert steering.retry([first.job.id], now()) == 0


def test_what_a_task_declares_of_its_own_key_decides(note: Note) -> None:
    assert enqueue_once(tasks.once, note, key="a").created
    assert enqueue_once(tasks.once, note, key="b").created
    assert not enqueue_once(tasks.once, Note.objects.create(text="other"), key="a").created
    assert enqueue_once(tasks.once_or_raise, note, key="a").created
    assert not enqueue_once(tasks.once_or_raise, note, key="a").created


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_second_click_waits_for_the_transaction_of_the_first(note: Note, end: str) -> None:
    """With ATOMIC_REQUESTS the first request is still open: only a lock can tell, no look beforehand."""
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first = guard(None, tasks.answer, note, value=1)
            second = pool.submit(and_close, lambda: guard(None, tasks.answer, note, value=2))
            wait_for_blocked(1)
            assert not second.done()
            transaction.set_rollback(end == "rollback")
        found = second.result(30)
    assert first.created
    assert found.created is (end == "rollback")
    assert Job.objects.get().id == found.job.id


def test_an_asynchronous_view_has_it_too(note: Note) -> None:
    request = RequestFactory().post("/")
    request.user = User.objects.create_user("ada")
    assert async_to_sync(aguard)(request, tasks.answer, note, value=1).created
    assert not guard(request, tasks.answer, note, value=1).created


def test_a_batch_is_guarded_in_the_same_words(note: Note) -> None:
    with Batch.open("embed all", unique=True, subject=note) as batch:
        batch.enqueue(tasks.nothing)
    with pytest.raises(DuplicateBatch) as running:
        with Batch.open("embed all", unique=True, subject=note):
            raise AssertionError
    found = Guard(running.value.batch, created=False)
    assert body(found.response())["batch"] == str(batch.id)
    assert found.sentence == "embed all is already running."
    with pytest.raises(TypeError):
        _ = found.job


# -- rows that follow


def fresh() -> Import:
    return Import.objects.create(name="all")


def seen(row: Import) -> tuple[str, str]:
    row.refresh_from_db()
    return row.state, row.error


def test_a_row_follows_its_job_through_every_state() -> None:
    row = fresh()
    job = row.enqueue(tasks.answer.using(created_by="ada"), value=1)
    assert (row.state, row.task_id, row.started_by) == ("pending", str(job.id), "ada")
    assert not row.enqueue(tasks.answer, value=2).created
    claim = begin(job)
    assert seen(row)[0] == "processing"
    assert row.started_at is not None
    settle(claim, RetryAt(now(), Trouble("OSError", "away")), now())
    assert seen(row) == ("pending", "OSError: away")
    counts = {"succeeded": 8, "failed": 2, "errors": [{"item": "9", "error": "nine"}]}
    report = {"counts": json.dumps(counts), "progress_current": 10, "progress_total": 20}
    settle(begin(job), Failed(Trouble("ValueError", "broken")), now(), Effects(report=report))
    assert seen(row) == ("failed", "ValueError: broken")
    assert (row.total, row.processed, row.successful, row.failed, row.percentage) == (20, 10, 8, 2, 50.0)
    assert (row.errors, row.ended_at is not None) == (counts["errors"], True)
    steering.retry([job.id], now())
    assert seen(row)[0] == "pending"
    settle(begin(job), Succeeded(), now())
    assert seen(row) == ("completed", "")
    assert (steering.cancel([job.id], now()), seen(row)[0]) == (0, "completed")
    second = row.enqueue(tasks.answer, value=3)
    assert second.created
    assert (row.state, row.failed, row.ended_at) == ("pending", 0, None)
    # What becomes of an earlier one is not its business any more.
    Job.objects.filter(id=job.id).update(state="failed")
    steering.discard([job.id], now())
    assert seen(row)[0] == "pending"
    steering.cancel([second.id], now())
    assert seen(row)[0] == "cancelled"


def test_a_job_about_a_row_that_it_did_not_enqueue_leaves_it_alone() -> None:
    row = fresh()
    job = tasks.answer.using(subject=row).enqueue(value=1)
    settle(begin(job), Succeeded(), now())
    assert seen(row)[0] == "pending"
    assert row.reading() is None


@pytest.mark.parametrize("point", ["settle.moved", "settle.written"])
@pytest.mark.parametrize("outcome", [Succeeded(), Failed(Trouble("ValueError")), Cancelled("cancelled")])
def test_the_row_changes_in_the_transaction_of_the_job_or_not_at_all(point: str, outcome: Outcome) -> None:
    row = fresh()
    claim = begin(row.enqueue(tasks.answer, value=1))

    def strike() -> None:
        raise ZeroDivisionError

    with faults.armed(point, strike), pytest.raises(ZeroDivisionError):
        settle(claim, outcome, now())
    assert (Job.objects.get().state, seen(row)[0]) == ("running", "processing")
    settle(claim, outcome, now())
    expected = {"succeeded": "completed"}.get(Job.objects.get().state, Job.objects.get().state)
    assert seen(row)[0] == expected


def test_a_row_follows_its_batch() -> None:
    row = fresh()
    with row.open_batch("embed all", created_by="ada") as batch:
        batch.enqueue_many(tasks.nothing, ({"n": n} for n in range(3)))
    assert (row.state, row.total, row.processed, row.started_by) == ("processing", 3, 0, "ada")
    with pytest.raises(DuplicateBatch):
        row.open_batch("embed all").__enter__()
    for number, job in enumerate(Job.objects.filter(batch=batch.id)):
        settle(begin(job), Succeeded() if number else Failed(Trouble("ValueError")), now())
    reading = row.reading()
    assert reading is not None
    assert reading.total == 3
    Teller().run_once(now())
    assert seen(row)[0] == "completed"
    assert (row.processed, row.successful, row.failed, row.percentage) == (3, 2, 1, 100.0)


def test_an_eager_job_leaves_its_row_completed(settings: Any) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True
    row = fresh()
    row.enqueue(tasks.answer, value=1)
    assert seen(row)[0] == "completed"
    with row.open_batch("embed all") as batch:
        batch.enqueue(tasks.nothing)
    assert seen(row)[0] == "completed"


def test_a_row_that_is_not_saved_with_the_jobs_is_refused() -> None:
    with pytest.raises(NotInStep, match="is not saved"):
        Import(name="never").enqueue(tasks.answer, value=1)
    row = fresh()
    row._state.db = "elsewhere"
    with pytest.raises(NotInStep, match="'elsewhere'"):
        row.enqueue(tasks.answer, value=1)


def test_it_is_stale_when_it_should_have_news(settings: Any) -> None:
    row = fresh()
    assert not row.is_stale
    row.enqueue(tasks.answer, value=1)
    assert not row.is_stale
    settings.TASKYARD = {**settings.TASKYARD, "BATCH_STALE_AFTER": dt.timedelta(0)}
    assert row.is_stale


def test_jobs_about_other_rows_cost_nothing_more(note: Note) -> None:
    plain, about = tasks.answer.enqueue(value=1), tasks.answer.using(subject=note).enqueue(value=1)
    counts = []
    for job in (plain, about):
        Job.objects.filter(id=job.id).update(state="queued")
        with statements() as seen_statements:
            claim = start(job, now())
            settle(claim, Succeeded(), now())
        counts.append(len(seen_statements))
    assert counts[0] == counts[1]


def test_a_key_of_the_calls_own_is_one_job() -> None:
    keyed = tasks.answer.using(unique_key=f"nightly {uuid.uuid4()}")
    assert keyed.enqueue(value=1).created
    assert not keyed.enqueue(value=2).created
    assert keyed.enqueue_many([{"value": 3}, {"value": 4}]).created == 0
