"""The agents that move and end jobs, one turn at a time: their clocks are arguments."""

import datetime as dt
import json
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from taskyard.errors import PublishFailed
from taskyard.execution import steering
from taskyard.execution.outcome import Failed, RetryAt, Succeeded, Trouble
from taskyard.execution.pruner import Pruner
from taskyard.execution.rescuer import Rescuer
from taskyard.execution.settle import settle
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.rows.sql import Sql
from taskyard.outbox.feeder import Feeder, _with_work
from taskyard.outbox.models import QueueSetting
from taskyard.outbox.sweep import overdue_after
from taskyard.runtime.heartbeat import Heartbeat
from taskyard.runtime.lease import LEASE, Leases
from taskyard.runtime.models import Lease, Worker
from taskyard.tasks.unique import unique_lock
from tests.integration.shelf import Shelf, put, register, start, statements

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
DAY = dt.timedelta(days=1)


def feeder(shelf: Shelf) -> Feeder:
    return Feeder(uuid.uuid4(), shelf)


def states(**where: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for state in Job.objects.filter(**where).values_list("state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found


def finish(job_id: uuid.UUID, now: dt.datetime) -> None:
    assert settle(start(Job.objects.get(id=job_id), now), Succeeded(), now)


# -- feeder ------------------------------------------------------------------------------------------------------------


def test_a_queue_without_workers_gets_a_small_window() -> None:
    for _ in range(30):
        put(NOW)
    shelf = Shelf()
    one = feeder(shelf)

    assert one.run_once(NOW) == 10
    assert one.run_once(NOW + SECOND) == 0
    assert states() == {"queued": 10, "pending": 20}


def test_the_window_is_one_job_for_each_slot_and_grows_with_the_measured_rate() -> None:
    register(NOW, "celery", slots=4)
    for _ in range(100):
        put(NOW)
    shelf = Shelf()
    one = feeder(shelf)

    def turn(number: int) -> int:
        for out in shelf.published:
            if number and Job.objects.get(id=out.id).state == "queued":
                finish(out.id, NOW)
        return one.run_once(NOW + number * SECOND / 10)

    # Measured from its second turn on, over a quarter of a second at least: four jobs in that time, of which half a
    # second's work is eight. A window that runs dry each time doubles.
    assert [turn(0), turn(1), turn(2), turn(3)] == [4, 4, 8, 16]
    with override_settings(TASKYARD={"WINDOW_MAX": 30}):
        assert turn(4) == 30


def _feed_and_finish(one: Feeder, now: dt.datetime) -> list[uuid.UUID]:
    before = set(Job.objects.filter(state="succeeded").values_list("id", flat=True))
    one.run_once(now)
    Job.objects.filter(state="queued").update(state="succeeded", finished_at=now)
    return sorted(set(Job.objects.filter(state="succeeded").values_list("id", flat=True)) - before)


def test_behind_a_backlogs_last_row_the_next_look_goes_on_and_nothing_is_passed_over_for_long() -> None:
    register(NOW, "celery", slots=2)
    jobs = [put(NOW, available_at=NOW + n * SECOND / 1000).id for n in range(20)]
    one = feeder(Shelf())
    assert _feed_and_finish(one, NOW) == sorted(jobs[:2])

    # Committed late, by a transaction that began before the rows that were taken.
    late = put(NOW, available_at=NOW - SECOND).id
    urgent = put(NOW, available_at=NOW - SECOND, priority=5).id
    with statements() as seen:
        assert urgent in _feed_and_finish(one, NOW + SECOND / 10)
    assert not [text for text, _ in seen if "lane = 1 AND queue = %s ORDER BY" in text]
    taken = _feed_and_finish(one, NOW + SECOND / 5)
    assert late not in taken
    assert late in _feed_and_finish(one, NOW + 1.3 * SECOND)
    for turn in range(20):
        _feed_and_finish(one, NOW + (2 + turn) * SECOND)
    assert not Job.objects.active().exists()


def test_queues_between_and_beside_those_with_a_backlog_are_found() -> None:
    names = ("a", "celery", "d", "middle", "z")
    for name in names:
        register(NOW, name, slots=1)
        for _ in range(3):
            put(NOW, queue=name)
    one = feeder(Shelf())
    one.run_once(NOW)
    assert one._backlog == set(names)
    for known in ([], ["celery"], ["celery", "middle"], ["a", "z"], list(names), ["nowhere"]):
        assert _with_work(Sql("default"), sorted(known)) == {*names, *known}


def test_a_worker_that_stops_or_is_silent_counts_for_nothing() -> None:
    stopping = register(NOW, "celery", slots=20)
    silent = register(NOW, "celery", slots=20)
    Worker.objects.filter(id=stopping.id).update(stopping_at=NOW)
    Worker.objects.filter(id=silent.id).update(heartbeat_at=NOW - dt.timedelta(minutes=5))
    register(NOW, "celery", slots=3)
    for _ in range(30):
        put(NOW)

    assert feeder(Shelf()).run_once(NOW) == 3


def test_jobs_are_fed_by_priority_and_then_in_the_order_of_their_time() -> None:
    register(NOW, "celery", slots=6)
    # Written latest first, so that the order of the rows on disk is the wrong one.
    jobs = {
        (priority, age): put(NOW, priority=priority, available_at=NOW - age * SECOND)
        for priority in (-100, 0, 100)
        for age in (1, 2, 3)
    }
    shelf = Shelf()

    assert feeder(shelf).run_once(NOW) == 6

    wanted = [(100, 3), (100, 2), (100, 1), (0, 3), (0, 2), (0, 1)]
    assert shelf.ids() == [jobs[key].id for key in wanted]


def test_a_job_is_fed_when_its_time_has_come_and_not_before() -> None:
    job = put(NOW, due=False, available_at=NOW + 10 * SECOND)
    shelf = Shelf()
    one = feeder(shelf)

    assert one.run_once(NOW) == 0
    assert one.run_once(NOW + 9 * SECOND) == 0
    assert one.run_once(NOW + 10 * SECOND) == 1
    assert shelf.ids() == [job.id]


def test_one_feeder_acts_per_queue_and_the_next_takes_over_when_it_stops() -> None:
    put(NOW, queue="a")
    put(NOW, queue="b")
    first, second = feeder(Shelf()), feeder(Shelf())
    assert first.run_once(NOW) == 2
    put(NOW, queue="a")
    assert second.run_once(NOW) == 0

    first.stop()

    assert second.run_once(NOW + 2 * SECOND) == 1


def test_whoever_takes_a_dead_feeders_lease_publishes_its_last_batch_again() -> None:
    jobs = [put(NOW) for _ in range(3)]
    dead, heir, shelf = feeder(Shelf()), None, Shelf()
    dead.run_once(NOW)
    heir = feeder(shelf)

    assert heir.run_once(NOW + LEASE / 2) == 0
    assert shelf.published == []
    heir.run_once(NOW + LEASE + SECOND)

    assert sorted(shelf.ids()) == sorted(job.id for job in jobs)
    assert set(Job.objects.values_list("state", "publishes")) == {("queued", 2)}


def test_refused_messages_go_back_to_the_table_and_are_not_taken_for_run() -> None:
    register(NOW, "celery", slots=4)
    put(NOW, state="retrying", attempt=1, priority=-1)
    for _ in range(3):
        put(NOW)
    shelf = Shelf(refuses=2)
    one = feeder(shelf)

    with pytest.raises(PublishFailed, match="2 of 4"):
        one.run_once(NOW)

    assert states() == {"queued": 2, "pending": 1, "retrying": 1}
    assert set(Job.objects.exclude(state="queued").values_list("publishes", "lane")) == {(0, 1)}
    # Were the refused ones taken for jobs that ran, the window would now be the work of a very fast queue.
    shelf.refuses = 0
    one.interrupted()
    for _ in range(20):
        put(NOW)
    assert one.run_once(NOW + SECOND / 100) == 2


def test_a_paused_queue_is_held_back_until_it_is_resumed() -> None:
    put(NOW, queue="slow")
    put(NOW, queue="fast")
    QueueSetting.objects.pause(["slow"], NOW)
    one = feeder(Shelf())

    assert one.run_once(NOW) == 1
    assert states(queue="slow") == {"pending": 1}
    QueueSetting.objects.resume(["slow"])
    assert one.run_once(NOW + 2 * SECOND) == 1


@override_settings(TASKYARD={"HANDOVER": ["legacy"]})
def test_a_handed_over_job_is_published_in_full_and_is_final() -> None:
    job = put(NOW, queue="legacy", args=[1, 2], kwargs={"three": 3})
    shelf = Shelf()
    one = feeder(shelf)

    assert one.run_once(NOW) == 1

    [(out, args, kwargs)] = shelf.in_full
    assert (out.id, json.loads(args), json.loads(kwargs)) == (job.id, [1, 2], {"three": 3})
    assert shelf.published == []
    job.refresh_from_db()
    assert (job.state, job.finished_at, job.attempt) == ("succeeded", NOW, 0)
    assert one.run_once(NOW + dt.timedelta(hours=1)) == 0


@override_settings(TASKYARD={"HANDOVER": ["legacy"]})
def test_a_handed_over_job_whose_feeder_died_or_was_refused_is_published_by_the_next() -> None:
    refused, left = put(NOW, queue="legacy"), put(NOW, queue="legacy", state="queued", published_at=NOW, publishes=1)
    shelf = Shelf(refuses=2)
    one = feeder(shelf)
    one.run_once(NOW)
    assert states() == {"pending": 2}

    shelf.refuses = 0

    assert one.run_once(NOW + SECOND) == 2
    assert {out.id for out, _, _ in shelf.in_full} == {refused.id, left.id}
    assert states() == {"succeeded": 2}


@override_settings(TASKYARD={"QUEUES": ["high", "low"]})
def test_the_urgent_queue_is_fed_first_where_slots_are_shared() -> None:
    register(NOW, "low", "high", slots=2)
    for queue in ("low", "low", "low", "high", "high", "high"):
        put(NOW, queue=queue, priority=100 if queue == "low" else 0)
    shelf = Shelf()
    one = feeder(shelf)

    one.run_once(NOW)
    for out in shelf.published:
        finish(out.id, NOW)
    one.run_once(NOW + 2 * SECOND)

    assert [out.queue for out in shelf.published] == ["high", "high", "high", "low"]


@override_settings(TASKYARD={"QUEUES": ["high", "low"]})
def test_a_fast_less_urgent_queue_does_not_overtake_and_one_with_workers_of_its_own_does_not_wait() -> None:
    register(NOW, "low", "high", slots=1)
    for n in range(40):
        put(NOW, queue="low" if n % 2 else "high")
    shelf = Shelf()
    one = feeder(shelf)
    turns = 0
    while turns < 30 and states(queue="high").get("pending"):
        turns += 1
        one.run_once(NOW + turns * SECOND / 50)
        for out in shelf.published:
            if Job.objects.get(id=out.id).state == "queued":
                finish(out.id, NOW)
    assert {out.queue for out in shelf.published[:20]} == {"high"}

    for n in range(60):
        put(NOW, queue="high" if n else "low")
    register(NOW, "low", slots=1)
    shelf.published.clear()
    one.run_once(NOW + 3 * SECOND)
    assert "low" in {out.queue for out in shelf.published}


def test_equally_urgent_queues_take_turns() -> None:
    register(NOW, "a", "b", slots=1)
    for n in range(20):
        put(NOW, queue="ab"[n % 2])
    shelf = Shelf()
    one = feeder(shelf)
    for turn in range(6):
        # A second each, so that the window stays at one.
        one.run_once(NOW + turn * SECOND)
        finish(shelf.published[-1].id, NOW)
    assert [out.queue for out in shelf.published] == ["a", "b", "a", "b", "a", "b"]


def test_queues_with_workers_of_their_own_do_not_wait_for_each_other() -> None:
    register(NOW, "a", slots=2)
    register(NOW, "b", slots=2)
    for queue in "aaabbb":
        put(NOW, queue=queue)

    assert feeder(Shelf()).run_once(NOW) == 4
    assert states(queue="a") == states(queue="b") == {"queued": 2, "pending": 1}


def test_the_feeder_pauses_no_longer_than_until_the_next_job_is_due() -> None:
    now = dt.datetime.now(dt.UTC)
    one = feeder(Shelf(rows_are_messages=True))
    one.run_once(now)
    assert one.pause(0, is_deaf=False) == 2 * SECOND
    assert one.pause(0, is_deaf=True) == SECOND / 5
    put(now, due=False, available_at=now + SECOND / 2)
    one.run_once(now)
    assert one.pause(0, is_deaf=False) <= SECOND / 2
    assert one.pause(3, is_deaf=False) <= SECOND / 20


# -- sweep -------------------------------------------------------------------------------------------------------------


def test_an_overdue_message_is_published_again_and_each_time_later() -> None:
    put(NOW)
    shelf = Shelf()
    one = feeder(shelf)
    one.run_once(NOW)
    moments = []
    for second in range(1, 100):
        before = len(shelf.published)
        one.run_once(NOW + second * SECOND)
        moments += [second] if len(shelf.published) > before else []

    # Ten seconds, then twenty, then forty.
    assert moments == [10, 30, 70]
    assert list(Job.objects.values_list("state", "publishes")) == [("queued", 4)]


def test_a_running_job_is_not_published_again() -> None:
    job = put(NOW)
    shelf = Shelf()
    one = feeder(shelf)
    one.run_once(NOW)
    start(job, NOW)

    one.run_once(NOW + dt.timedelta(hours=2))

    assert len(shelf.published) == 1


def test_a_message_waits_at_most_ten_minutes_and_one_while_slots_are_idle() -> None:
    base = dt.timedelta(seconds=10)
    waits = [overdue_after(n, base=base, has_idle_slots=False).total_seconds() for n in (0, 1, 2, 3, 4, 20, 1000)]
    assert waits == [10, 10, 20, 40, 80, 600, 600]
    assert overdue_after(20, base=base, has_idle_slots=True) == dt.timedelta(minutes=1)
    assert overdue_after(1, base=dt.timedelta(hours=1), has_idle_slots=True) == dt.timedelta(hours=1)


def test_refused_overdue_messages_stay_queued_and_are_tried_again() -> None:
    put(NOW)
    shelf = Shelf()
    one = feeder(shelf)
    one.run_once(NOW)
    shelf.refuses = 1
    one.run_once(NOW + 11 * SECOND)
    shelf.refuses = 0

    one.run_once(NOW + 40 * SECOND)

    assert states() == {"queued": 1}
    assert len(shelf.published) == 2


# -- rescuer -----------------------------------------------------------------------------------------------------------


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def watched(rescuer: Rescuer, clock: Clock, seconds: float) -> int:
    """Let the rescuer look every second or so for that long, as its loop does; how many jobs it gave back."""
    looks = max(1, round(seconds))
    rescued = 0
    for _ in range(looks):
        clock.seconds += seconds / looks
        rescued += rescuer.run_once(NOW)
    return rescued


def running(worker: uuid.UUID, **values: Any) -> Any:
    return start(put(NOW, state="queued", **values), NOW, worker)


def test_a_silent_workers_jobs_are_given_back_after_the_whole_limit_without_losing_an_attempt() -> None:
    worker = register(NOW, "celery")
    claim = running(worker.id)
    put(NOW, state="queued", worker=worker.id)
    Leases(worker.id).hold("feeder:celery", NOW)
    clock = Clock()
    rescuer = Rescuer(clock)
    assert rescuer.run_once(NOW) == 0
    assert watched(rescuer, clock, 19.9) == 0

    assert watched(rescuer, clock, 0.1) == 1

    job = Job.objects.get(id=claim.id)
    assert (job.state, job.attempt, job.max_attempts, job.lane) == ("retrying", 1, 2, 1)
    assert job.error["reason"] == "worker-lost"
    attempt = job.attempts.get()
    assert (attempt.number, attempt.error_type, attempt.worker) == (1, "WorkerLost", worker.id)
    # The job it had in hand on the database broker is free for others, and so is its lease.
    assert list(Job.objects.exclude(id=claim.id).values_list("state", "worker")) == [("queued", None)]
    assert not Worker.objects.exists()
    assert not Lease.objects.exists()


def test_an_attempt_that_was_rescued_cannot_settle_its_job() -> None:
    claim = running(uuid.uuid4())
    clock = Clock()
    rescuer = Rescuer(clock)
    rescuer.run_once(NOW)
    assert watched(rescuer, clock, 20) == 1

    assert not settle(claim, Succeeded('"late"'), NOW)
    assert not settle(claim, Failed(Trouble("Late")), NOW)

    job = Job.objects.get()
    assert (job.state, job.result) == ("retrying", None)
    assert Attempt.objects.count() == 1


def test_a_beat_starts_the_limit_anew_and_clocks_of_hosts_do_not_matter() -> None:
    worker = register(NOW - dt.timedelta(days=400), "celery")
    running(worker.id)
    beat = Heartbeat(worker.id, name="w", queues=["celery"], slots=1, children=list)
    clock = Clock()
    rescuer = Rescuer(clock)
    for _ in range(5):
        assert watched(rescuer, clock, 19) == 0
        beat.run_once(NOW - dt.timedelta(days=400))
        assert rescuer.run_once(NOW) == 0
    assert watched(rescuer, clock, 20) == 1


def test_a_rescuer_that_was_cut_off_starts_watching_anew() -> None:
    running(register(NOW, "celery").id)
    clock = Clock()
    rescuer = Rescuer(clock)
    rescuer.run_once(NOW)
    assert watched(rescuer, clock, 15) == 0

    rescuer.interrupted()

    assert rescuer.run_once(NOW) == 0
    assert watched(rescuer, clock, 19) == 0
    assert watched(rescuer, clock, 1) == 1


def test_the_time_a_look_takes_is_nobodys_silence() -> None:
    worker = register(NOW, "celery")
    running(worker.id)
    beat = Heartbeat(worker.id, name="w", queues=["celery"], slots=1, children=list)
    clock = Clock()
    rescuer = Rescuer(clock)
    rescuer.run_once(NOW)
    assert watched(rescuer, clock, 18) == 0
    clock.seconds += 1

    def slow(execute: Any, *args: Any) -> Any:
        # The worker beats while the rescuer waits for the database, after it read the count of beats.
        if "SELECT DISTINCT worker" in args[0]:
            beat.run_once(NOW)
            clock.seconds += 1
        return execute(*args)

    with connection.execute_wrapper(slow):
        assert rescuer.run_once(NOW) == 0

    # And what was read before that wait is no older than the answer.
    assert watched(rescuer, clock, 19) == 0
    assert watched(rescuer, clock, 2) == 1


def test_a_killed_worker_is_never_the_jobs_fault() -> None:
    job = put(NOW)
    clock = Clock()
    rescuer = Rescuer(clock)
    for n in range(1, 6):
        Job.objects.update(state="queued")
        start(job, NOW, uuid.uuid4())
        rescuer.run_once(NOW)
        assert watched(rescuer, clock, 20) == 1
        job.refresh_from_db()
        assert (job.state, job.attempt, job.max_attempts, job.crashes) == ("retrying", n, n + 1, 0)


# -- pruner ------------------------------------------------------------------------------------------------------------


def ended(state: str, age: dt.timedelta) -> Job:
    job = put(NOW, state=state, finished_at=NOW - age)
    Attempt.objects.create(job=job, number=1, error_type="E", ended_at=NOW)
    return job


def test_each_final_state_has_its_own_time_and_attempts_go_with_their_job() -> None:
    kept = [ended("succeeded", 6 * DAY), ended("cancelled", 29 * DAY), ended("failed", 89 * DAY), put(NOW - 900 * DAY)]
    for state, days in (("succeeded", 8), ("cancelled", 31), ("failed", 91)):
        ended(state, days * DAY)

    assert Pruner().run_once(NOW) == 3

    assert set(Job.objects.values_list("id", flat=True)) == {job.id for job in kept}
    assert Attempt.objects.count() == 3


@override_settings(TASKYARD={"RETENTION": {"failed": None, "succeeded": dt.timedelta(0)}})
def test_a_state_may_be_kept_for_ever_or_not_at_all() -> None:
    ended("failed", 9000 * DAY)
    ended("succeeded", SECOND)

    assert Pruner().run_once(NOW) == 1
    assert states() == {"failed": 1}


def test_the_pruner_works_in_batches_and_goes_on_at_once_while_they_are_full() -> None:
    Job.objects.bulk_create(
        Job(id=uuid.uuid4(), task="t", queue="q", created_at=NOW, available_at=NOW, state="succeeded",
            finished_at=NOW - 8 * DAY - n * SECOND)
        for n in range(1100)
    )  # fmt: skip
    pruner = Pruner()
    done = [pruner.run_once(NOW) for _ in range(4)]
    assert done == [500, 500, 100, 0]
    assert pruner.pause(500, is_deaf=True) < SECOND
    assert pruner.pause(100, is_deaf=True) == dt.timedelta(minutes=1)


def test_a_job_an_operator_brings_back_while_it_is_pruned_keeps_its_attempts() -> None:
    job = ended("failed", 91 * DAY)
    other = ended("failed", 91 * DAY)
    pruner = Pruner()

    # What the pruner has read is out of date by the time it deletes.
    def bring_back(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        answer = execute(sql, params, many, context)
        if sql.startswith("SELECT") and "LIMIT" in sql and "failed" in params and not done:
            done.append(steering.retry([job.id], NOW))
        return answer

    done: list[int] = []
    with Sql("default").connection.execute_wrapper(bring_back):
        pruner.run_once(NOW)

    assert done == [1]
    assert list(Job.objects.values_list("id", "state")) == [(job.id, "pending")]
    assert list(Attempt.objects.values_list("job_id", flat=True)) == [job.id]
    assert not Job.objects.filter(id=other.id).exists()


# -- heartbeat and leases ----------------------------------------------------------------------------------------------


def test_a_worker_that_was_taken_for_lost_registers_again() -> None:
    children = [11, 12]
    beat = Heartbeat(uuid.uuid4(), name="w@h", queues=["a", "b"], slots=3, children=lambda: children)
    beat.register(NOW)
    beat.run_once(NOW)
    worker = Worker.objects.get()
    assert (worker.queues, worker.slots, worker.children, worker.beats) == (["a", "b"], 3, [11, 12], 1)
    assert worker.heartbeat_at == NOW
    Worker.objects.all().delete()
    children.append(13)

    beat.run_once(NOW)

    assert Worker.objects.get().children == [11, 12, 13]
    beat.announce_stop(NOW)
    assert Worker.objects.get().stopping_at is not None
    beat.stop()
    assert not Worker.objects.exists()


def test_a_lease_is_one_owners_until_it_expires_or_is_released() -> None:
    one, two = Leases(uuid.uuid4()), Leases(uuid.uuid4())
    assert one.hold("role", NOW) == "taken"
    assert one.hold("role", NOW + SECOND) == "held"
    assert two.hold("role", NOW + SECOND) == ""
    # Renewed in time, it stays.
    for second in range(2, 30):
        assert one.hold("role", NOW + second * SECOND) == "held"
        assert two.hold("role", NOW + second * SECOND) == ""
    assert two.hold("role", NOW + 29 * SECOND + LEASE + SECOND) == "taken"
    assert one.hold("role", NOW + 29 * SECOND + LEASE + SECOND) == ""
    two.release_all()
    assert one.hold("role", NOW + 29 * SECOND + 2 * LEASE) == "taken"


# -- steering ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "retrying", "queued", "waiting"])
def test_a_cancelled_job_that_has_not_started_is_final_at_once(state: str) -> None:
    job = put(NOW, state=state, unique_key="k", unique_lock="lock")

    assert steering.cancel([job.id], NOW) == 1

    job.refresh_from_db()
    assert (job.state, job.finished_at, job.unique_lock, job.lane) == ("cancelled", NOW, None, None)
    assert job.error["reason"] == "cancelled"
    assert feeder(Shelf()).run_once(NOW) == 0
    assert steering.cancel([job.id], NOW) == 0


def test_a_running_job_is_asked_to_stop_and_stays_its_attempts() -> None:
    claim = running(uuid.uuid4())

    assert steering.cancel([claim.id], NOW) == 1

    job = Job.objects.get()
    assert (job.state, job.cancel_requested_at, job.finished_at) == ("running", NOW, None)
    assert settle(claim, Succeeded("1"), NOW)


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_an_ended_job_cannot_be_cancelled(state: str) -> None:
    job = put(NOW, state=state, finished_at=NOW)
    assert steering.cancel([job.id], NOW) == 0
    job.refresh_from_db()
    assert (job.state, job.cancel_requested_at) == (state, None)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_an_operators_retry_allows_one_more_attempt_and_counts_go_on(state: str) -> None:
    job = put(
        NOW, state=state, finished_at=NOW, attempt=3, max_attempts=3, crashes=3, expires_at=NOW, cancel_requested_at=NOW
    )
    Attempt.objects.create(job=job, number=3, error_type="E", ended_at=NOW)

    assert steering.retry([job.id], NOW + SECOND) == 1

    job.refresh_from_db()
    assert (job.state, job.attempt, job.max_attempts, job.lane) == ("pending", 3, 4, 1)
    assert (job.finished_at, job.expires_at, job.cancel_requested_at, job.crashes) == (None, None, None, 0)
    assert job.attempts.count() == 1
    assert feeder(Shelf()).run_once(NOW + SECOND) == 1
    assert start(job, NOW + SECOND).attempt == 4


@pytest.mark.parametrize("state", ["pending", "queued", "running", "waiting", "retrying", "succeeded"])
def test_only_failed_and_cancelled_jobs_come_back_and_only_failed_ones_are_discarded(state: str) -> None:
    job = put(NOW, state=state)
    assert steering.retry([job.id], NOW) == 0
    assert steering.discard([job.id], NOW) == 0
    job.refresh_from_db()
    assert job.state == state


def test_a_job_whose_key_is_held_by_another_does_not_come_back() -> None:
    lock = unique_lock("app.once", "", "k")
    old = put(NOW, task="app.once", state="failed", finished_at=NOW, unique_key="k")
    free = put(NOW, task="app.once", state="failed", finished_at=NOW, unique_key="other")
    put(NOW, task="app.once", unique_key="k", unique_lock=lock)

    assert steering.retry([old.id, free.id], NOW) == 1

    assert Job.objects.get(id=old.id).state == "failed"
    assert Job.objects.get(id=free.id).unique_lock == unique_lock("app.once", "", "other")


def test_a_discarded_job_is_cancelled_and_says_why() -> None:
    job = put(NOW, state="failed", finished_at=NOW)
    assert steering.discard([job.id], NOW + SECOND) == 1
    job.refresh_from_db()
    assert (job.state, job.error["reason"], job.finished_at) == ("cancelled", "discarded", NOW + SECOND)


def test_a_retry_that_waits_is_fed_at_its_time() -> None:
    job = put(NOW, max_attempts=2)
    one = feeder(Shelf())
    one.run_once(NOW)
    settle(start(job, NOW), RetryAt(NOW + 5 * SECOND, Trouble("E")), NOW)

    assert one.run_once(NOW + 4 * SECOND) == 0
    assert one.run_once(NOW + 5 * SECOND) == 1
