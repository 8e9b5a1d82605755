"""Batches: members are counted exactly once, whatever ends them; what follows comes exactly once."""

import datetime as dt
import io
import json
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from taskyard import Batch, DuplicateBatch, current_job
from taskyard.batches import cancelling, queries
from taskyard.batches.models import BatchTally
from taskyard.batches.queries import BatchFilter
from taskyard.batches.teller import Teller, fold
from taskyard.celery.results.chords import Ended
from taskyard.enqueue import enqueue_many
from taskyard.entrypoint import cli
from taskyard.entrypoint.screen import Screen
from taskyard.errors import BatchEnded, TaskyardError, TenantMismatch
from taskyard.execution import steering
from taskyard.execution.claim import Claim, Said, claim_many, new_token
from taskyard.execution.outcome import Cancelled, Failed, Outcome, RetryAt, Succeeded, Trouble, Waiting
from taskyard.execution.pruner import Pruner
from taskyard.execution.settle import Effects, Success, settle, settle_many
from taskyard.jobs.current import entered
from taskyard.jobs.models import Job
from taskyard.jobs.running import RunningJob
from taskyard.models import AuditEntry
from taskyard.outbox.feeder import Feeder
from taskyard.testing import faults
from tests.app import tasks
from tests.app.models import Note
from tests.integration.shelf import Shelf, and_close, start, statements, wait_for_blocked

pytestmark = pytest.mark.django_db(transaction=True)

TROUBLE = Trouble("ValueError", "broken")


def now() -> dt.datetime:
    return timezone.now()


def opened(members: int = 3, **options: Any) -> Batch:
    with Batch.open("embed all", **options) as batch:
        batch.enqueue_many(tasks.nothing, ({"n": n} for n in range(members)))
    return batch


def begin(job: Job) -> Claim:
    Job.objects.filter(id=job.id).update(state="queued", due=True)
    return start(job, now())


def end(job: Job, outcome: Outcome | None = None) -> Claim:
    claim = begin(job)
    assert settle(claim, outcome or Succeeded(), now())
    return claim


def members(batch: Batch) -> list[Job]:
    return list(Job.objects.filter(batch=batch.id).order_by("id"))


def counted(batch: Batch) -> tuple[str, int, int, int, int]:
    """After a teller's turn."""
    Teller().run_once(now())
    batch.refresh_from_db()
    return batch.state, batch.total, batch.succeeded, batch.failed, batch.cancelled


def followers() -> list[str]:
    """What was enqueued because of batches, by its argument."""
    return sorted(job.kwargs["text"] for job in Job.objects.filter(task="app.note"))


def telling(word: str) -> tuple[Any, dict[str, str]]:
    return tasks.note, {"text": word}


ALL: dict[str, Any] = {f"on_{word}": telling(word) for word in ("success", "failure", "complete")}


def test_a_batch_and_its_members_exist_exactly_if_the_block_ends_well() -> None:
    with pytest.raises(ZeroDivisionError):
        with Batch.open("never") as batch:
            batch.enqueue(tasks.nothing, n=1)
            batch.enqueue_many(tasks.nothing, ({"n": n} for n in range(3)))
            1 / 0  # noqa: B018
    assert (Batch.objects.count(), Job.objects.count(), BatchTally.objects.count()) == (0, 0, 0)
    batch = opened(3)
    # Known at once, not after a look: the page that the view redirects to shows it.
    assert (batch.state, batch.total, batch.done, batch.percentage) == ("running", 3, 0, 0.0)
    assert {job.batch for job in members(batch)} == {batch.id}


def test_every_way_to_an_end_is_counted() -> None:
    batch = opened(8)
    first, second, third, fourth, fifth, sixth, seventh, eighth = members(batch)
    end(first)
    end(second, Failed(TROUBLE))
    end(third, Cancelled("expired"))
    steering.cancel([fourth.id], now())
    end(fifth, RetryAt(now(), TROUBLE))
    assert counted(batch) == ("running", 8, 1, 1, 2)
    end(fifth)
    end(sixth, Failed(TROUBLE))
    steering.discard([sixth.id], now())
    settle(begin(seventh), Succeeded(), now(), Effects(steps=[lambda alias, at: None]))
    end(eighth, Waiting())
    assert counted(batch) == ("running", 8, 3, 1, 3)
    steering.cancel([eighth.id, fourth.id], now())
    assert counted(batch) == ("completed", 8, 3, 1, 4)
    assert batch.finished_at is not None
    assert batch.percentage == 100.0


def test_members_of_a_pack_are_counted() -> None:
    batch, alone = opened(3), tasks.nothing.enqueue(n=9)
    token, worker = new_token(), uuid.uuid4()
    ids = [*(job.id for job in members(batch)), alone.id]
    Job.objects.update(state="queued")
    claims = claim_many(ids, token, worker=worker, now=now(), said=Said("app.nothing", None, None, ()))
    assert len(settle_many([Success(one, None, now()) for one in claims])) == 4
    # A second time they are fenced, and counted no more.
    assert settle_many([Success(one, None, now()) for one in claims]) == set()
    assert counted(batch) == ("completed", 3, 3, 0, 0)


def test_a_fenced_end_is_not_counted() -> None:
    batch = opened(1)
    claim = begin(members(batch)[0])
    Job.objects.update(claim=secrets.randbits(60))
    assert not settle(claim, Succeeded(), now())
    assert not settle(claim, Failed(TROUBLE), now())
    assert counted(batch) == ("running", 1, 0, 0, 0)


def test_an_operators_retry_takes_the_count_back_and_what_was_told_is_not_told_again() -> None:
    batch = opened(2, **ALL)
    first, second = members(batch)
    end(first)
    end(second, Failed(TROUBLE))
    assert counted(batch) == ("completed", 2, 1, 1, 0)
    assert followers() == ["complete", "failure"]
    assert steering.retry([first.id, second.id], now()) == 1
    assert counted(batch) == ("running", 2, 1, 0, 0)
    assert batch.finished_at is None
    end(second, Failed(TROUBLE))
    assert counted(batch) == ("completed", 2, 1, 1, 0)
    steering.retry([second.id], now())
    end(second)
    assert counted(batch) == ("completed", 2, 2, 0, 0)
    assert followers() == ["complete", "failure", "success"]


def test_a_failure_is_told_before_the_end() -> None:
    batch = opened(2, **ALL)
    end(members(batch)[0], Failed(TROUBLE))
    assert counted(batch)[0] == "running"
    assert followers() == ["failure"]


def test_an_empty_batch_has_ended() -> None:
    batch = opened(0, **ALL)
    assert batch.state == "completed"
    assert followers() == ["complete", "success"]


def test_the_next_stage_starts_once_when_the_first_is_done() -> None:
    batch = opened(1, subject=Note.objects.create(text="rfp")).then(tasks.note, text="stage two")
    end(members(batch)[0], Failed(TROUBLE))
    assert followers() == []
    counted(batch)
    assert followers() == ["stage two"]
    # It is about the same row: "is one running?" finds it.
    assert Job.objects.for_subject(Note.objects.get()).active().get().task == "app.note"
    batch.then(tasks.note, text="late")
    steering.retry([members(batch)[0].id], now())
    end(members(batch)[0])
    assert counted(batch)[0] == "completed"
    assert followers() == ["late", "stage two"]


def test_a_callback_is_checked_when_it_is_said_and_is_given_the_batch() -> None:
    with pytest.raises(TypeError):
        opened(1, on_success=(tasks.note, {"words": 1}))
    with pytest.raises(TaskyardError, match="cannot follow it"):
        opened(1, on_success="app.note")
    with pytest.raises(TaskyardError, match="unknown option 'on_end'"):
        opened(1, on_end=tasks.nothing)
    assert Batch.objects.count() == 0
    batch = opened(0, on_complete=[tasks.report_batch, telling("second")])
    assert Job.objects.get(task="app.report_batch").kwargs == {"batch_id": str(batch.id)}
    assert followers() == ["second"]


def test_a_call_that_meets_a_held_key_is_no_member() -> None:
    tasks.once.enqueue(key="a")
    with Batch.open("with keys") as batch:
        assert not batch.enqueue(tasks.once, key="a").created
        report = batch.enqueue_many(tasks.once, [{"key": "a"}, {"key": "b"}, {"key": "b"}, {"wrong": 1}])
        assert batch.enqueue(tasks.once, key="c").created
    assert (report.created, report.duplicates, len(report.rejected)) == (1, 2, 1)
    assert (batch.total, len(members(batch))) == (2, 2)


def test_a_member_may_add_to_its_batch_and_the_batch_waits_for_what_it_added() -> None:
    batch = opened(1)
    (job,) = members(batch)
    claim = begin(job)
    with entered(RunningJob(job.id, job.task, token=claim.token, attempt=1, batch=claim.batch)):
        found = Batch.current()
        assert found is not None
        found.enqueue(tasks.nothing, n=1)
        found.enqueue_many(tasks.nothing, [{"n": 2}, {"n": 3}])
    settle(claim, Succeeded(), now())
    assert counted(batch) == ("running", 4, 1, 0, 0)
    for job in members(batch)[1:]:
        end(job)
    assert counted(batch) == ("completed", 4, 4, 0, 0)
    with pytest.raises(BatchEnded):
        batch.enqueue(tasks.nothing)


@contextmanager
def elsewhere(work: Callable[[], None]) -> Iterator[threading.Thread]:
    """Another thread with a connection of its own."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    yield thread
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time: nothing to hold")
def test_a_batch_does_not_end_while_somebody_adds_to_it() -> None:
    batch = opened(1, **ALL)
    added, may_commit = threading.Event(), threading.Event()

    def add() -> None:
        with transaction.atomic():
            Batch.objects.get(id=batch.id).enqueue(tasks.nothing)
            added.set()
            may_commit.wait(10)

    with elsewhere(add):
        assert added.wait(10)
        end(members(batch)[0])
        # The one that adds holds the row: the teller passes by and comes again.
        assert counted(batch) == ("running", 1, 0, 0, 0)
        may_commit.set()
    assert counted(batch) == ("running", 2, 1, 0, 0)
    assert followers() == []


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time")
def test_while_one_teller_decides_another_passes_by() -> None:
    batch = opened(1, **ALL)
    end(members(batch)[0])
    reached, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        if threading.current_thread() is not threading.main_thread():
            reached.set()
            may_go.wait(10)

    with faults.armed("tally.written", hold):
        with elsewhere(lambda: Teller().run_once(now()) and None):
            assert reached.wait(10)
            assert Teller().run_once(now()) == 0
            may_go.set()
    batch.refresh_from_db()
    assert batch.state == "completed"
    assert followers() == ["complete", "success"]


class Struck(Exception):
    """What a teller dies of."""


@pytest.mark.parametrize("point", ["tally.taken", "tally.written", "tally.done"])
def test_a_teller_that_dies_at_any_point_neither_loses_nor_doubles(point: str) -> None:
    batch = opened(2, **ALL)
    for job in members(batch):
        end(job)

    def strike() -> None:
        raise Struck

    with faults.armed(point, strike), pytest.raises(Struck):
        fold(batch.id, now())
    assert counted(batch) == ("completed", 2, 2, 0, 0)
    assert followers() == ["complete", "success"]
    assert not BatchTally.objects.exists()


def test_a_cancelled_batch_stops_in_pieces_and_has_no_next_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "PIECE", 3)
    batch = opened(40, **ALL).then(tasks.note, text="stage two")
    running, handed_over = begin(members(batch)[0]), members(batch)[1]
    end(handed_over, Waiting())
    assert batch.cancel()
    assert Job.objects.filter(state="cancelled").count() == 12
    teller, turns = Teller(), 0
    while teller.run_once(now()):
        turns += 1
        assert turns < 40
    batch.refresh_from_db()
    assert (batch.state, batch.total, batch.cancelled) == ("running", 40, 39)
    assert Job.objects.get(id=running.id).cancel_requested_at is not None
    with pytest.raises(BatchEnded):
        batch.enqueue(tasks.nothing)
    with pytest.raises(BatchEnded):
        batch.then(tasks.note, text="never")
    settle(running, Cancelled("cancelled"), now())
    assert counted(batch) == ("cancelled", 40, 0, 0, 40)
    assert followers() == ["complete"]
    assert not batch.cancel()
    assert not BatchTally.objects.exists()


def test_only_whoever_may_see_a_batch_cancels_it() -> None:
    batch = opened(1, tenant="one")
    assert cancelling.cancel([batch.id], now(), tenant="other") == 0
    assert queries.find_batch(batch.id, now(), tenant="other") is None
    assert queries.find_page(BatchFilter(tenant="other"), now(), limit=5).rows == ()
    assert cancelling.cancel([batch.id], now(), tenant="one") == 1


def test_members_are_of_the_tenant_of_their_batch() -> None:
    with Batch.open("of one", tenant="one") as batch:
        assert batch.enqueue(tasks.nothing).tenant == "one"
        batch.enqueue_many(tasks.nothing, [{"n": 1}])
        with pytest.raises(TenantMismatch):
            batch.enqueue(tasks.nothing.using(tenant="other"))
        batch.then(tasks.note, text="next")
    assert set(Job.objects.values_list("tenant", flat=True)) == {"one"}
    with Batch.open("of all") as batch:
        assert batch.enqueue(tasks.nothing.using(tenant="other")).tenant == "other"


def test_a_unique_batch_runs_once_at_a_time() -> None:
    note = Note.objects.create(text="rfp")
    batch = opened(1, unique=True, subject=note)
    with pytest.raises(DuplicateBatch) as found:
        opened(1, unique=True, subject=note)
    assert found.value.batch.id == batch.id
    assert opened(1, unique=True, subject=Note.objects.create(text="another")).total == 1
    for job in members(batch):
        end(job)
    counted(batch)
    assert opened(1, unique=True, subject=note).id != batch.id
    assert Batch.objects.for_subject(note).active().count() == 1


def test_of_two_openings_at_once_the_second_waits_and_is_refused() -> None:
    """The first transaction is still open when the second begins: no look beforehand could have found it."""
    note = Note.objects.create(text="rfp")
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            with Batch.open("embed all", unique=True, subject=note) as batch:
                batch.enqueue(tasks.nothing)
                second = pool.submit(and_close, lambda: opened(1, unique=True, subject=note))
                wait_for_blocked(1)
                assert not second.done()
        with pytest.raises(DuplicateBatch) as found:
            second.result(30)
    assert found.value.batch.id == batch.id
    assert Job.objects.count() == 1


def test_it_is_stale_without_news_unless_a_member_has_some() -> None:
    batch = opened(2, stale_after=dt.timedelta(minutes=5))
    later = now() + dt.timedelta(minutes=6)

    def is_stale() -> bool:
        reading = queries.find_batch(batch.id, later)
        assert reading is not None
        return reading.is_stale

    assert is_stale()
    assert list(Batch.objects.get_queryset().stale(later)) == [batch]
    claim = begin(members(batch)[0])
    Job.objects.filter(id=claim.id).update(progress_at=later - dt.timedelta(minutes=1))
    assert not is_stale()
    Job.objects.filter(id=claim.id).update(progress_at=later - dt.timedelta(minutes=6), started_at=claim.started_at)
    settle(claim, Succeeded(), now())
    Teller().run_once(later - dt.timedelta(minutes=1))
    assert not is_stale()


def test_a_reading_has_the_same_shape_for_a_batch_and_for_items_in_one_job() -> None:
    batch = opened(4)
    first, second, third, _ = members(batch)
    end(first)
    end(second, Failed(TROUBLE))
    begin(third)
    counted(batch)
    read = queries.find_batch(batch.id, now())
    assert read is not None
    assert (read.total, read.current, read.succeeded, read.failed, read.percent) == (4, 2, 1, 1, 50.0)
    assert [(one.item, one.error, one.job) for one in read.errors] == [("app.nothing", "ValueError: broken", second.id)]
    assert read.unfinished == {"running": 1, "pending": 1}

    job = tasks.batch.enqueue(items=list(range(20)))
    counts = {"succeeded": 5, "failed": 1, "errors": [{"item": "9", "error": "nine"}]}
    Job.objects.filter(id=job.id).update(state="running", progress_current=6, progress_total=20, counts=counts)
    read = queries.find_job(job.id, now())
    assert read is not None
    assert (read.kind, read.total, read.current, read.succeeded, read.failed) == ("job", 20, 6, 5, 1)
    assert [(one.item, one.error, one.job) for one in read.errors] == [("9", "nine", None)]


def test_a_member_costs_one_statement_more_and_others_none() -> None:
    # On PostgreSQL its end stays one statement: the tally is part of it.
    batch, alone = opened(1), tasks.nothing.enqueue()
    extra = {"postgresql": 0, "sqlite": 1, "mysql": 1}[connection.vendor]
    counts = []
    for job in (alone, members(batch)[0]):
        claim = begin(job)
        with statements() as seen:
            settle(claim, Succeeded(), now())
        counts.append(len([sql for sql, _ in seen if sql.split()[0] in ("UPDATE", "INSERT", "SELECT", "WITH")]))
        assert ("batchtally" in " ".join(sql for sql, _ in seen)) == (job is not alone)
    assert counts[1] == counts[0] + extra
    with transaction.atomic(), statements() as seen:
        tasks.nothing.enqueue()
        enqueue_many(tasks.nothing, [{"n": 1}, {"n": 2}])
    assert not any("tally" in sql for sql, _ in seen)


def test_an_eager_batch_runs_to_its_end(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TASKYARD_TEST_HISTORY", str(tmp_path / "history"))
    settings.CELERY_TASK_ALWAYS_EAGER = True
    batch = opened(3, on_failure=tasks.nothing, on_success=telling("success")).then(tasks.note, text="stage two")
    batch.refresh_from_db()
    assert (batch.state, batch.succeeded) == ("completed", 3)
    assert sorted(Note.objects.values_list("text", flat=True)) == ["stage two", "success"]


def test_news_of_more_than_one_piece_end_the_batch_only_when_all_are_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.batches.teller.PIECE", 2)
    monkeypatch.setattr("taskyard.batches.teller._PIECES", 1)
    batch = opened(2)
    first, second = members(batch)
    end(first)
    end(second)
    # Added by the second before it ended, and its tally read later than both ends.
    BatchTally.objects.create(batch=batch.id, what="added", delta=1)
    fold(batch.id, now())
    batch.refresh_from_db()
    assert (batch.state, batch.total, batch.succeeded) == ("running", 2, 2)
    assert counted(batch) == ("running", 3, 2, 0, 0)


def test_batches_are_pruned_when_their_time_is_over_and_news_of_none_are_dropped(settings: Any) -> None:
    day = dt.timedelta(days=1)
    settings.TASKYARD = {**settings.TASKYARD, "RETENTION": {"succeeded": day, "failed": day, "cancelled": day}}
    old, young, running = opened(0), opened(0), opened(1)
    Batch.objects.filter(id=old.id).update(finished_at=now() - dt.timedelta(days=2))
    BatchTally.objects.create(batch=uuid.uuid4(), what="succeeded", delta=1)
    Pruner().run_once(now())
    Teller().run_once(now())
    assert set(Batch.objects.values_list("id", flat=True)) == {young.id, running.id}
    assert not BatchTally.objects.exists()


def test_a_reader_of_a_large_batch_does_not_read_its_members(django_assert_max_num_queries: Any) -> None:
    batch = opened(3)
    with django_assert_max_num_queries(3):
        assert queries.find_batch(batch.id, now()) is not None
    with django_assert_max_num_queries(2):
        assert len(queries.find_page(BatchFilter(states=("running",), name="embed all"), now(), limit=5).rows) == 1
    assert queries.find_page(BatchFilter(states=("completed",)), now(), limit=5).rows == ()


def test_of_very_many_unfinished_members_some_are_counted_and_those_that_run_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "_MOST_COUNTED", 2)
    batch = opened(3)
    begin(members(batch)[2])
    read = queries.find_batch(batch.id, now())
    assert read is not None
    assert read.unfinished == {"running": 1, "pending": 1}


def test_current_job_knows_no_batch_outside_of_one() -> None:
    assert Batch.current() is None
    with entered(RunningJob(uuid.uuid4(), "app.nothing", token=1, attempt=1)):
        assert Batch.current() is None
        assert current_job().batch is None


def taskyard(*words: str) -> tuple[int, str]:
    out = io.StringIO()
    code = cli.run(["batches", *words], prog="taskyard", has_project=True, screen=Screen(out, out))
    return code, out.getvalue()


def test_the_command_lists_shows_and_cancels() -> None:
    assert taskyard("list") == (1, "No batch matches.\n")
    batch = opened(4, tenant="one")
    first, second, *_ = members(batch)
    end(first)
    end(second, Failed(TROUBLE))
    counted(batch)
    code, text = taskyard("list")
    assert code == 0
    assert text.splitlines()[1].split()[1:8] == ["embed", "all", "one", "running", "2", "4", "1"]
    (listed,) = json.loads(taskyard("list", "--json", "--state", "running", "--name", "embed all")[1])
    assert (listed["percent"], listed["failed"], listed["id"]) == (50.0, 1, str(batch.id))
    assert taskyard("list", "--tenant", "other")[0] == 1
    code, text = taskyard("show", str(batch.id))
    assert (code, "ValueError: broken" in text, str(second.id) in text, "50 %" in text) == (0, True, True, True)
    shown = json.loads(taskyard("show", str(batch.id), "--json")[1])
    assert (shown["unfinished"], shown["errors"][0]["job"]) == ({"pending": 2}, str(second.id))
    assert taskyard("show", str(first.id), "--tenant", "one")[0] == 0
    assert taskyard("show", str(batch.id), "--tenant", "other")[0] == 1
    assert taskyard("cancel", str(batch.id), "--tenant", "other")[0] == 1
    assert taskyard("cancel", str(batch.id))[0] == 0
    assert counted(batch) == ("cancelled", 4, 1, 1, 2)
    assert taskyard("cancel", str(batch.id), "--json") == (
        1, f"taskyard: The batch {batch.id} is left as it is: it is cancelled.\n"
    )  # fmt: skip
    entry = AuditEntry.objects.get()
    assert (entry.kind, entry.verb, entry.target, entry.tenant) == ("batch", "cancel", str(batch.id), "one")


def test_what_is_handed_over_to_other_programs_has_ended(settings: Any) -> None:
    settings.TASKYARD = {**settings.TASKYARD, "HANDOVER": ["theirs"]}
    with Batch.open("theirs") as batch:
        batch.enqueue(tasks.nothing.using(queue_name="theirs"))
    tasks.nothing.using(queue_name="theirs").enqueue()
    Feeder(uuid.uuid4(), Shelf()).run_once(now())
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    assert counted(batch) == ("completed", 1, 1, 0, 0)


def test_a_member_whose_replacement_failed_has_failed() -> None:
    batch = opened(1)
    (job,) = members(batch)
    end(job, Waiting())
    for _ in range(2):
        Ended(str(job.id), "FAILURE", ValueError("upstream"), None)("default", now())
    assert counted(batch) == ("completed", 1, 0, 1, 0)
