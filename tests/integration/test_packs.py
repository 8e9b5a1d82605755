"""Jobs that share a message: one claim and one settle for all of them, and each keeps its own record."""

import datetime as dt
import itertools
import logging
import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import InterfaceError, connection, transaction
from django.utils import timezone

from taskyard import events
from taskyard.celery.application import get_app
from taskyard.celery.attempt import pack as pack_module
from taskyard.celery.attempt.executor import claim_surely
from taskyard.celery.attempt.pack import PackDelivery, execute_pack
from taskyard.celery.worker.settler import Death, handle
from taskyard.errors import InvalidTask
from taskyard.execution import steering
from taskyard.execution.claim import Claim, Said, claim_many, find_claims, new_token
from taskyard.execution.settle import Success, settle_many
from taskyard.jobs.models import Job
from taskyard.jobs.scribe import scribe
from tests.app import tasks
from tests.app.models import Note
from tests.integration.shelf import put, statements
from tests.workers import Project

pytestmark = pytest.mark.django_db(transaction=True)

postgres_only = pytest.mark.skipif(connection.vendor != "postgresql", reason="one statement for many: PostgreSQL")


@pytest.fixture(autouse=True)
def history(project: Project) -> Iterator[Project]:
    """Where the tasks write their starts and ends."""
    yield project
    scribe().close()


def queued(*calls: Any, task: str = "app.tiny", **values: Any) -> list[uuid.UUID]:
    now = timezone.now()
    return [put(now, task=task, state="queued", args=[call], **values).id for call in calls]


def deliver(ids: list[uuid.UUID], task: str = "app.tiny", *, token: int | None = None) -> Any:
    """One message, as a pool's process gets it."""
    delivery = PackDelivery(
        str(uuid.uuid4()), task, token or secrets.randbits(63), str(uuid.uuid4()), "host", {},
        job_ids=tuple(map(str, ids)),
    )  # fmt: skip
    return execute_pack(delivery, get_app())


def rows(ids: list[uuid.UUID]) -> list[Job]:
    found = Job.objects.in_bulk(ids)
    return [found[one] for one in ids]


def own(ids: list[uuid.UUID]) -> list[Claim]:
    return claim_many(ids, new_token(), worker=uuid.uuid4(), now=timezone.now(), said=Said("app.tiny", None, None, ()))


def started(project: Project) -> list[str]:
    return [words[3] for words in project.history() if words[2] == "start"]


# -- the good day


def test_all_of_a_pack_run_in_its_order_and_each_keeps_its_own_record(history: Project) -> None:
    ids = queued(*range(7))

    failed, said, _ = deliver(ids)

    assert (failed, said) == (0, "7 jobs")
    assert started(history) == [str(one) for one in ids]
    jobs = rows(ids)
    assert [(job.state, job.attempt, job.result) for job in jobs] == [("succeeded", 1, n) for n in range(7)]
    for before, after in itertools.pairwise(jobs):
        assert before.started_at < before.finished_at <= after.started_at < after.finished_at


@postgres_only
def test_a_pack_is_claimed_by_one_statement_and_settled_by_one() -> None:
    deliver(queued(0))
    ids = queued(*range(50))
    with statements() as seen:
        deliver(ids)
    updates = [sql for sql, _ in seen if "taskyard_job" in sql]

    assert len(updates) == 2, updates
    assert {job.state for job in rows(ids)} == {"succeeded"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="counts what SQLite needs")
def test_elsewhere_each_is_claimed_and_settled_by_a_statement_of_its_own() -> None:
    deliver(queued(0))
    ids = queued(*range(5))
    with statements() as seen:
        deliver(ids)
    assert sum(sql.startswith("UPDATE") for sql, _ in seen) == 10


def test_ends_are_written_at_once_when_the_first_has_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, written = queued(*range(3)), []
    monkeypatch.setattr(pack_module, "_LONGEST_UNWRITTEN_SECONDS", 0.0)
    monkeypatch.setattr(pack_module, "settle_many", lambda many: written.append(len(many)) or settle_many(many))

    deliver(ids)

    assert written == [1, 1, 1]
    assert {job.state for job in rows(ids)} == {"succeeded"}


ODD_TEXTS = [
    'a "quoted" one',
    'back\\slash \\" and \\n',
    "{braces, commas}",
    "NULL",
    "",
    " ",
    "Ä ∂ 🙂 中",
    "\0",
    "\ud800",
    "%s",
    "'",
]


def test_results_of_every_shape_arrive_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    # By the statement for all of them: what that cannot write is written by others.
    monkeypatch.delattr(pack_module, "settle_surely")
    values = [*ODD_TEXTS, None, 0, False, 1.5, [], {}, {"a": [None, "NULL", '"']}, ODD_TEXTS]
    ids = queued(*values)
    deliver(ids)
    assert [job.result for job in rows(ids)] == values


def test_observers_hear_of_the_end_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[Any, str]] = []

    def note(job_id: uuid.UUID, state: str, **_: object) -> None:
        heard.append((job_id, state))

    events.job_settled.connect(note)
    try:
        ids = queued(1, 2, 3)
        deliver(ids)
    finally:
        events.job_settled.disconnect(note)
    assert heard == [(one, "succeeded") for one in ids]


def test_a_key_held_until_the_start_is_free_once_the_pack_is_claimed() -> None:
    first = tasks.tiny_once_until_start.enqueue(key="k")
    Job.objects.filter(id=first.id).update(state="queued")
    claims = claim_many(
        [first.id], new_token(), worker=uuid.uuid4(), now=timezone.now(),
        said=Said("app.tiny_once_until_start", None, None, ()),
        release_lock=True,
    )  # fmt: skip
    assert len(claims) == 1
    assert tasks.tiny_once_until_start.enqueue(key="k").created

    other = tasks.tiny_once_until_start.enqueue(key="other")
    Job.objects.filter(id=other.id).update(state="queued")
    deliver([other.id], "app.tiny_once_until_start")
    assert rows([other.id])[0].state == "succeeded"


# -- who does not run


def test_what_was_cancelled_or_taken_or_ended_before_is_not_run_and_the_others_are(
    history: Project, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled, taken, ended, good, last = ids = queued(*range(5))
    steering.cancel([cancelled], timezone.now())
    (elsewhere,) = own([taken])
    deliver([ended])
    history.history_file.unlink()

    with caplog.at_level(logging.INFO, "taskyard"):
        _, said, _ = deliver(ids)

    assert said == "2 jobs"
    assert "3 jobs of a message dropped" in caplog.text
    assert started(history) == [str(good), str(last)]
    assert [job.state for job in rows(ids)] == ["cancelled", "running", "succeeded", "succeeded", "succeeded"]
    assert find_claims([taken], elsewhere.token) == [elsewhere]


def test_a_job_named_twice_in_a_forged_pack_runs_once(history: Project) -> None:
    (one,) = ids = queued(1)
    deliver([one, one, one])
    assert started(history) == [str(one)]
    assert [job.attempt for job in rows(ids)] == [1]


def test_jobs_of_another_task_another_queue_or_with_limits_are_left_alone(history: Project) -> None:
    other_task = queued(1, task="app.nothing")
    limited = queued(2, time_limit=5.0)
    elsewhere = queued(3, queue="elsewhere")
    (good,) = queued(4)
    delivery = PackDelivery(
        str(uuid.uuid4()), "app.tiny", new_token(), str(uuid.uuid4()), "host", {}, queues=("celery",),
        job_ids=tuple(map(str, [*other_task, *limited, *elsewhere, good])),
    )  # fmt: skip
    execute_pack(delivery, get_app())
    assert started(history) == [str(good)]
    assert [job.state for job in rows([*other_task, *limited, *elsewhere])] == ["queued"] * 3


def test_a_pack_of_a_task_that_is_gone_puts_its_jobs_back() -> None:
    ids = queued(1, 2, task="app.gone")
    deliver(ids, "app.gone")
    assert [(job.state, job.attempt, job.max_attempts) for job in rows(ids)] == [("pending", 1, 2)] * 2


def test_an_expired_one_is_cancelled_in_its_turn() -> None:
    ids = [*queued(1), *queued(2, expires_at=timezone.now() - dt.timedelta(seconds=1)), *queued(3)]
    deliver(ids)
    assert [job.state for job in rows(ids)] == ["succeeded", "cancelled", "succeeded"]


# -- ends that are more than a success


def test_one_that_fails_is_retried_and_recorded_with_its_own_times_and_the_others_succeed() -> None:
    ids = queued("ok", "fail-once", "ok", task="app.tiny_steered", max_attempts=3)
    deliver(ids, "app.tiny_steered")

    before, failed, after = rows(ids)
    assert [job.state for job in (before, failed, after)] == ["succeeded", "retrying", "succeeded"]
    attempt = failed.attempts.get()
    assert (attempt.number, attempt.error_type) == (1, "ValueError")
    assert before.finished_at <= attempt.started_at == failed.started_at < attempt.ended_at <= after.started_at


def test_progress_checkpoints_and_jobs_that_follow_land_with_their_job() -> None:
    hows = ["progress", "checkpoint", "follow", "ok"]
    ids = queued(*hows, task="app.tiny_steered")
    deliver(ids, "app.tiny_steered")

    progress, checkpoint, follow, plain = jobs = rows(ids)
    assert [(job.state, job.result) for job in jobs] == [("succeeded", how) for how in hows]
    assert (progress.progress_current, progress.progress_total, progress.progress_message) == (3, 4, "three")
    assert checkpoint.checkpoint == {"page": 1}
    assert Job.objects.get(task="app.follows").parent == follow.id
    for before, after in itertools.pairwise(jobs):
        assert before.started_at < before.finished_at <= after.started_at
    assert plain.progress_current is None


def test_links_and_chains_of_packed_jobs_are_sent_with_their_ends() -> None:
    sent = [(get_app().tasks["app.tiny"].s(n) | tasks.add.s(10)).delay() for n in range(3)]
    ids = [uuid.UUID(one.parent.id) for one in sent]
    Job.objects.filter(id__in=ids).update(state="queued")
    deliver(ids)

    assert [(job.state, job.result) for job in rows(ids)] == [("succeeded", n) for n in range(3)]
    steps = Job.objects.in_bulk([uuid.UUID(one.id) for one in sent])
    assert sorted(job.args[0] for job in steps.values()) == [0, 1, 2]


def test_a_transaction_left_open_by_one_takes_nobody_elses_end_along() -> None:
    hows = ["note", "broken-transaction", "note", "ok"]
    ids = queued(*hows, task="app.tiny_steered")
    deliver(ids, "app.tiny_steered")

    assert [job.state for job in rows(ids)] == ["succeeded"] * 4
    assert list(Note.objects.values_list("text", flat=True)) == ["written", "written"]
    assert connection.get_autocommit()


# -- bad days


def test_a_rescued_job_of_a_pack_is_not_ended_by_it_and_the_others_are(caplog: pytest.LogCaptureFixture) -> None:
    ids = queued(1, 2, 3)
    claims = own(ids)
    Job.objects.filter(id=ids[1]).update(claim=7)

    ends = [Success(one, '"done"', timezone.now()) for one in claims]
    assert settle_many(ends) == {ids[0], ids[2]}

    assert [(job.state, job.result) for job in rows(ids)] == [
        ("succeeded", "done"), ("running", None), ("succeeded", "done")
    ]  # fmt: skip
    assert f"job {ids[1]} is not ours any more" in caplog.text


@pytest.fixture
def refused_result() -> Iterator[str]:
    """A result the database does not take."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE taskyard_job ADD CONSTRAINT no_such_result CHECK (result <> '\"refused\"')")
    yield "refused"
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE taskyard_job DROP CONSTRAINT no_such_result")


@postgres_only
def test_a_result_the_database_refuses_ends_only_its_own_job(refused_result: str, history: Project) -> None:
    ids = queued("before", refused_result, "after")
    deliver(ids)

    before, refused, after = rows(ids)
    assert [(job.state, job.result) for job in (before, after)] == [("succeeded", "before"), ("succeeded", "after")]
    assert (refused.state, refused.error["reason"]) == ("failed", "unsettleable")
    assert len(started(history)) == 3


@postgres_only
def test_ends_land_though_the_connection_was_ended_between_run_and_settle(history: Project) -> None:
    ids = queued("note", "cut", "ok", task="app.tiny_steered")
    deliver(ids, "app.tiny_steered")

    assert [(job.state, job.attempt) for job in rows(ids)] == [("succeeded", 1)] * 3
    assert len(started(history)) == 3
    assert Note.objects.count() == 1


def test_ends_land_though_the_driver_says_the_interface_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(many: object) -> None:
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(pack_module, "settle_many", broken)
    ids = queued(1, 2)
    deliver(ids)
    assert [job.state for job in rows(ids)] == ["succeeded"] * 2


@postgres_only
def test_a_body_that_finds_its_connection_gone_does_not_pass_that_on_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    real = pack_module.run

    def run(app: Any, owned: Claim, delivery: Any, finish: Any) -> Any:
        if owned.id == ids[1]:
            # The body before this one caught the error of a dead connection and went on.
            connection.errors_occurred = True
            connection.connection.close()
        answer = real(app, owned, delivery, finish)
        seen.append(str(owned.id))
        return answer

    monkeypatch.setattr(pack_module, "run", run)
    ids = queued("ok", "note", "note", "note", task="app.tiny_steered", max_attempts=3)
    deliver(ids, "app.tiny_steered")
    assert [job.state for job in rows(ids)] == ["succeeded", "retrying", "succeeded", "succeeded"]
    assert len(seen) == 4


def test_claims_that_committed_though_their_answer_was_lost_are_found_all_of_them() -> None:
    ids, token, worker = queued(1, 2, 3, 4), new_token(), uuid.uuid4()
    said, turns = Said("app.tiny", None, None, ()), iter([True, False])

    def claim_them() -> list[Claim]:
        is_first = next(turns)
        owned = claim_many(ids[:2] if is_first else ids, token, worker=worker, now=timezone.now(), said=said)
        if is_first:
            raise InterfaceError("the answer was lost")
        return owned

    owned = claim_surely("pack", claim_them, lambda: find_claims(ids, token))
    assert [one.id for one in owned] == ids


def test_a_child_that_died_of_one_of_several_counts_against_none_of_them() -> None:
    ids = queued(*range(3))
    done, running, waiting = own(ids)
    settle_many([Success(done, "1", timezone.now())])
    for one in (done, running, waiting):
        handle(Death(one.id, one.token, None, RuntimeError("killed"), is_released=False, is_shared=True))

    assert [(job.state, job.crashes) for job in rows(ids)] == [("succeeded", 0), ("retrying", 0), ("retrying", 0)]
    assert rows(ids)[1].attempts.get().error_type == "WorkerLost"


# -- an untracked task has no jobs


@pytest.mark.parametrize("way", ["enqueue", "using", "enqueue_many"])
def test_enqueuing_an_untracked_task_says_that_it_has_no_jobs(way: str) -> None:
    with pytest.raises(InvalidTask, match="tracked=False") as caught, transaction.atomic():
        if way == "enqueue":
            tasks.say_untracked.enqueue(word="a")
        elif way == "using":
            tasks.say_untracked.using(priority=3).enqueue(word="a")
        else:
            tasks.say_untracked.enqueue_many([{"word": "a"}])
    assert ".delay()" in str(caught.value)
    assert not Job.objects.exists()
