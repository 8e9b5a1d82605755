"""Batches whose members run where they are enqueued (``CELERY_TASK_ALWAYS_EAGER``): real commits, and no teller."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from taskyard import Batch, task
from taskyard.batches.models import BatchTally
from taskyard.celery.eager import run_eagerly
from taskyard.jobs.models import Job
from tests.app import tasks
from tests.app.models import Note
from tests.integration.shelf import and_close, wait_for_blocked

pytestmark = pytest.mark.django_db(transaction=True)

ALL: dict[str, Any] = {f"on_{word}": (tasks.note, {"text": word}) for word in ("success", "failure", "complete")}


@task(name="app.adds_to_its_batch")
def adds(depth: int) -> None:
    batch = Batch.current()
    assert batch is not None
    if depth:
        batch.enqueue(adds, depth=depth - 1)


@task(name="app.opens_a_batch")
def opens() -> None:
    with Batch.open("inner", **ALL) as batch:
        batch.enqueue(tasks.nothing)


@pytest.fixture(autouse=True)
def eager(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TASKYARD_TEST_HISTORY", str(tmp_path / "history"))
    settings.CELERY_TASK_ALWAYS_EAGER = True


def counts(batch: Batch) -> tuple[str, int, int, int, int]:
    batch.refresh_from_db()
    assert not BatchTally.objects.exists()
    return batch.state, batch.total, batch.succeeded, batch.failed, batch.cancelled


def told() -> list[str]:
    return sorted(Note.objects.values_list("text", flat=True))


def test_a_batch_without_members_ends_with_its_block() -> None:
    with Batch.open("empty", **ALL) as batch:
        pass
    assert counts(batch) == ("completed", 0, 0, 0, 0)
    assert told() == ["complete", "success"]


def test_members_run_after_the_commit_around_the_block_those_added_later_too() -> None:
    with transaction.atomic():
        with Batch.open("around", **ALL) as batch:
            batch.enqueue(adds, depth=5)
        batch.enqueue(tasks.nothing)
        assert told() == []
    assert counts(batch) == ("completed", 7, 7, 0, 0)
    assert told() == ["complete", "success"]


def test_a_job_may_open_a_batch_and_a_next_stage_may() -> None:
    with Batch.open("outer", on_complete=opens) as batch:
        batch.enqueue(opens)
    batch.then(opens)
    assert list(Batch.objects.values_list("state", flat=True)) == ["completed"] * 4
    assert told() == ["complete"] * 3 + ["success"] * 3


@pytest.mark.parametrize("together", [True, False])
def test_an_error_is_raised_when_the_other_members_and_what_follows_have_run(settings: Any, together: bool) -> None:
    settings.CELERY_TASK_EAGER_PROPAGATES = True
    with pytest.raises(ValueError, match="for good"), Batch.open("broken", **ALL) as batch:
        if together:
            batch.enqueue_many(tasks.fails_for_good, [{}, {}])
        else:
            batch.enqueue(tasks.fails_for_good)
            batch.enqueue(tasks.fails_for_good)
        batch.enqueue(tasks.nothing)
    assert counts(batch) == ("completed", 3, 1, 2, 0)
    assert told() == ["complete", "failure"]


def test_a_savepoint_that_is_undone_takes_its_own_jobs_along_and_no_others() -> None:
    def undone() -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            tasks.note.enqueue(text="undone")
            raise ZeroDivisionError

    with transaction.atomic():
        undone()
        tasks.note.enqueue(text="first")
        undone()
        with transaction.atomic():
            tasks.note.enqueue(text="second")
    assert told() == ["first", "second"]


def test_a_large_batch_is_cancelled_piece_after_piece_and_not_piece_within_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taskyard.batches.cancelling.PIECE", 1)
    with transaction.atomic():
        with Batch.open("many", **ALL) as batch:
            batch.enqueue_many(tasks.nothing, ({"n": n} for n in range(200)))
        batch.cancel()
    assert counts(batch) == ("cancelled", 200, 0, 0, 200)
    assert told() == ["complete"]


def test_a_member_that_ends_while_another_thread_looks_at_the_batch_is_counted(settings: Any) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = False
    with Batch.open("two threads", **ALL) as batch:
        job = batch.enqueue(tasks.nothing)
    settings.CELERY_TASK_ALWAYS_EAGER = True
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            # As a fold does that has read its news; nobody comes after it.
            Batch.objects.select_for_update().get(id=batch.id)
            other = pool.submit(and_close, run_eagerly, [job.id], "default")
            wait_for_blocked(1)
        other.result(30)
    assert Job.objects.get(id=job.id).state == "succeeded"
    assert counts(batch) == ("completed", 1, 1, 0, 0)
