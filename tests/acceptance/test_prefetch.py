"""Workers take ahead what short jobs need, and give back what does not get its turn; Redis as the carrier."""

import itertools
from collections.abc import Iterator
from typing import Any

import celery
import pytest
import redis

from taskyard.celery.messages import outgoing_columns, outgoing_from_row, thin_message
from taskyard.jobs.rows.sql import Sql
from taskyard.models import Job
from tests.app import tasks
from tests.brokers import channel_of, outside
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

#: Nobody misses a message while the test runs.
NEVER_AGAIN: dict[str, Any] = {"REPUBLISH_AFTER": {"seconds": 600}}


@pytest.fixture
def outsider(project_on: Project) -> Iterator[celery.Celery]:
    """Asks the worker how it is."""
    with outside(project_on.broker_url) as app:
        yield app


@pytest.fixture
def on_redis(project: Project, redis_url: str) -> Project:
    project.broker_url, project.taskyard = redis_url, dict(NEVER_AGAIN)
    return project


def _prefetch_count(app: celery.Celery) -> int:
    (stats,) = (app.control.inspect(timeout=5, limit=1).stats() or {"nobody": {"prefetch_count": 0}}).values()
    return int(stats["prefetch_count"])


# -- taking ahead


def test_short_jobs_are_taken_ahead_and_when_they_are_over_there_is_one_for_each_slot(
    project_on: Project, outsider: celery.Celery
) -> None:
    project_on.taskyard = NEVER_AGAIN
    project_on.start_worker()
    assert _prefetch_count(outsider) == 2
    tasks.nothing.enqueue_many({"n": n} for n in range(1500))

    wait_until(lambda: _prefetch_count(outsider) > 2, 40, "it takes ahead")
    wait_until_idle()
    wait_until(lambda: _prefetch_count(outsider) == 2, 20, "it takes one for each slot")
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}


def test_what_was_taken_ahead_is_run_by_an_idle_worker_when_every_slot_turns_to_a_long_job(project_on: Project) -> None:
    project_on.taskyard = NEVER_AGAIN
    busy = project_on.start_worker()
    tasks.nothing.enqueue_many({"n": n} for n in range(300))
    long = [tasks.hold.enqueue(path=project_on.go) for _ in range(2)]
    short = [tasks.note.enqueue(text=str(n)) for n in range(20)]
    for job in long:
        wait_for_state(job.id, "running", 60)
    idle = project_on.start_worker()
    for job in short:
        wait_for_state(job.id, "succeeded", 15)

    assert {job.state for job in Job.objects.filter(task="app.hold")} == {"running"}
    taken_ahead = [job for job in short if f"app.note[{job.id}] received" in busy.output()]
    assert taken_ahead
    assert all(f"app.note[{job.id}] received" in idle.output() for job in taken_ahead)
    project_on.release()
    wait_until_idle()
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert [project_on.started(job.id) for job in (*long, *short)] == [1] * 22


def test_what_comes_straight_back_is_given_back_ever_more_rarely(on_redis: Project) -> None:
    on_redis.celery = {"WORKER_PREFETCH_MULTIPLIER": 3}
    worker = on_redis.start_worker("-c", "1")
    held = tasks.hold.enqueue(path=on_redis.go)
    wait_for_state(held.id, "running")
    waiting = [tasks.note.enqueue(text=str(n)) for n in range(2)]
    wait_until(lambda: worker.output().count("messages given back") >= 4, 30, "it gives back now and then")
    times = [line[1:24] for line in worker.output().splitlines() if "messages given back" in line]
    gaps = [_seconds(later) - _seconds(earlier) for earlier, later in itertools.pairwise(times)]

    assert gaps[1] > gaps[0] * 1.2
    assert gaps[2] > gaps[0] * 1.5
    on_redis.release()
    wait_until_idle()
    assert [on_redis.started(job.id) for job in (held, *waiting)] == [1] * 3


def _seconds(stamp: str) -> float:
    hours, minutes, seconds = stamp.split(" ")[1].replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_a_consumer_of_quorum_queues_keeps_the_count_it_began_with(project: Project, amqp_url: str) -> None:
    project.broker_url, project.taskyard = amqp_url, NEVER_AGAIN
    project.celery = {"TASK_DEFAULT_QUEUE_TYPE": "quorum"}
    project.start_worker("-c", "1")
    app = celery.Celery("outsider", broker=amqp_url, set_as_current=False)
    tasks.nothing.enqueue_many({"n": n} for n in range(800))
    counts = []

    def is_done() -> bool:
        counts.append(_prefetch_count(app))
        return not Job.objects.active().exists()

    wait_until(is_done, 60, "all have run")
    app.close()
    assert len(counts) > 3
    assert set(counts) == {1}


# -- Redis carries the window


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


def test_redis_keeps_what_no_row_stands_behind_and_nothing_else(on_redis: Project, client: redis.Redis) -> None:
    on_redis.start_worker()
    tracked = tasks.hold.enqueue(path=on_redis.go)
    wait_for_state(tracked.id, "running")
    assert client.hlen("unacked") == client.zcard("unacked_index") == 0

    on_redis.run_python(f"from tests.app import tasks; tasks.hold_untracked.delay(path={on_redis.go!r})")
    wait_until(lambda: any(words[2:] == ["untracked", "begins"] for words in on_redis.history()), 30, "it runs")
    assert client.hlen("unacked") == client.zcard("unacked_index") == 1

    on_redis.release()
    wait_until(lambda: client.hlen("unacked") == 0, 30, "it is acknowledged")
    wait_until_idle()


def test_a_worker_that_stops_gives_back_what_it_has_not_begun_in_its_order(
    on_redis: Project, client: redis.Redis
) -> None:
    on_redis.taskyard["SHUTDOWN_GRACE"] = {"seconds": 0.5}
    on_redis.celery = {"WORKER_PREFETCH_MULTIPLIER": 5}
    worker = on_redis.start_worker("-c", "1")
    held = tasks.hold.enqueue(path=on_redis.go)
    wait_for_state(held.id, "running")
    waiting = [_queued(tasks.note) for _ in range(4)]
    client.lpush("celery", *(_raw(on_redis, client, job) for job in waiting))
    for job in waiting:
        wait_until(lambda job=job: f"{job.id}] received" in worker.output(), 30, "it has them in hand")
    # Given back by itself, too, and taken again.
    wait_until(lambda: worker.output().count("4 messages given back") >= 2, 30, "it gives back all four")
    received = [
        line.split("app.note[")[1][:36]
        for line in worker.output().splitlines()
        if "] received" in line and "app.note[" in line
    ]
    assert received[:8] == [str(job.id) for job in waiting] * 2

    worker.ask_to_stop()
    assert worker.process.wait(20) == 0, worker.output()
    left = [str(item) for item in client.lrange("celery", 0, -1)]
    # The next to be taken stands at the right end.
    order = [str(job.id) for item in reversed(left) for job in waiting if str(job.id) in item]
    assert order == [str(job.id) for job in waiting]

    on_redis.release()
    on_redis.start_worker("-c", "1")
    wait_until_idle()
    starts = [words[3] for words in on_redis.history() if words[2] == "start" and words[5] == "note"]
    assert starts == [str(job.id) for job in waiting]


def test_malformed_items_do_not_take_their_neighbours_along(on_redis: Project, client: redis.Redis) -> None:
    worker = on_redis.start_worker("-c", "6")
    # Its feeder has taken the queue over: from now on it has no reason to publish queued jobs again.
    wait_for_state(tasks.nothing.enqueue().id, "succeeded")
    jobs = [_queued(tasks.note) for _ in range(3)]
    first, second, third = (_raw(on_redis, client, job) for job in jobs)
    junk = [b"{]", b"\xff\xfe\x00", b'{"taskyard": "and nothing else"}']
    # In one command, so that one look finds them all; the first to be taken stands last.
    client.lpush("celery", first, junk[0], second, junk[1], junk[2], third)

    for job in jobs:
        assert wait_for_state(job.id, "succeeded", 20).attempt == 1
    wait_until(lambda: worker.output().count("Message dropped") >= 3, 20, "the others are dropped")
    assert worker.process.poll() is None
    assert client.llen("celery") == 0


def _queued(task: Any) -> Job:
    job: Job = task.using(queue_name="elsewhere").enqueue(text="x")
    Job.objects.filter(id=job.id).update(state="queued", queue="celery", published_at=job.created_at, publishes=1)
    return job


def _raw(project: Project, client: redis.Redis, job: Job) -> bytes:
    """The item of a job's message, which is in no queue that is consumed."""
    sql = Sql("default")
    row = sql.query(f"SELECT {outgoing_columns} FROM taskyard_job WHERE id = %s", [sql.uuid(job.id)])[0]
    body, headers, properties = thin_message(outgoing_from_row(sql, row))
    with channel_of(project) as channel:
        message = channel.prepare_message(
            body, content_type="application/json", content_encoding="utf-8", headers=headers,
            properties={**properties, "delivery_mode": 2},
        )  # fmt: skip
        channel._inplace_augment_message(message, "", "celery")
        channel._put("aside", message)
    item = client.rpop("aside")
    assert isinstance(item, bytes)
    return item
