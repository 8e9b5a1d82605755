"""Jobs of a task that share a message, with real workers: each ends once, whatever happens to its fellows."""

import json
import os
import signal
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import kombu
import pytest
import redis
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from taskyard.celery import signing
from taskyard.celery.messages import PACK, outgoing_columns, outgoing_from_row, pack_message, thin_message
from taskyard.jobs.rows.sql import Sql
from taskyard.models import Attempt, Job
from tests import servers
from tests.app import tasks
from tests.brokers import channel_of
from tests.conftest import BROKERS
from tests.servers import wait_until
from tests.workers import Project, WorkerProcess, wait_for_state, wait_until_idle

SHORT: dict[str, Any] = {
    "WORKER_TIMEOUT": {"seconds": 3}, "HEARTBEAT": {"seconds": 0.5}, "REPUBLISH_AFTER": {"seconds": 1},
}  # fmt: skip
#: Nobody misses a message while the test runs.
NEVER_AGAIN: dict[str, Any] = {"REPUBLISH_AFTER": {"seconds": 600}}

Message = tuple[str, dict[str, Any], dict[str, Any]]


@pytest.fixture(params=["redis", "rabbitmq"])
def carried(request: pytest.FixtureRequest, project: Project) -> Iterator[Project]:
    """The project once on each broker whose messages are not the rows themselves."""
    with BROKERS[request.param]() as address:
        project.broker_url = address
        yield project
        project.release()
        project.close()


@pytest.fixture
def on_redis(project: Project, redis_url: str) -> Project:
    project.broker_url = redis_url
    return project


def _start(project: Project, *arguments: str) -> WorkerProcess:
    """A worker whose feeder has taken its queue over: then it has no reason to publish queued jobs again."""
    worker = project.start_worker(*arguments)
    wait_for_state(tasks.nothing.enqueue().id, "succeeded")
    return worker


def _queued(task: Any, calls: Sequence[dict[str, Any]]) -> list[Job]:
    """Jobs whose message a feeder has just published."""
    with transaction.atomic():
        jobs = [task.enqueue(**call) for call in calls]
        mine = Job.objects.filter(id__in=[job.id for job in jobs])
        mine.update(state="queued", published_at=timezone.now(), publishes=1)
    return jobs


def _outgoing(jobs: Sequence[Job]) -> list[Any]:
    sql = Sql("default")
    statement = f"SELECT {outgoing_columns} FROM taskyard_job WHERE id = %s"
    return [outgoing_from_row(sql, sql.query(statement, [sql.uuid(job.id)])[0]) for job in jobs]


def _publish(project: Project, *messages: Message) -> None:
    with channel_of(project) as channel:
        producer = kombu.Producer(channel)
        for body, headers, properties in messages:
            options = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
            producer.publish(body, routing_key="celery", headers=headers, **options)


def _publish_pack(project: Project, jobs: Sequence[Job], **changes: Any) -> None:
    body, headers, properties = pack_message(_outgoing(jobs))
    _publish(project, (body, headers | changes, properties))


def _steered(project: Project, *hows: str) -> list[Job]:
    """A pack whose jobs behave like that; ``wait`` holds it up until the test says go."""
    calls = [{"how": how, "path": project.go if how == "wait" else ""} for how in hows]
    jobs = _queued(tasks.tiny_steered, calls)
    _publish_pack(project, jobs)
    return jobs


def _wait_for_start(project: Project, job: Job) -> int:
    """Until it runs; in which process."""
    wait_until(lambda: project.started(job.id), 30, "the job runs")
    return next(int(words[1]) for words in project.history() if words[2:4] == ["start", str(job.id)])


def _received(worker: WorkerProcess, task: str) -> int:
    return sum(f"Task {task}[" in line and "] received" in line for line in worker.output().splitlines())


# -- the good day


def test_three_hundred_packed_jobs_all_succeed_once_in_fewer_messages(project_on: Project) -> None:
    project_on.taskyard = NEVER_AGAIN
    report = tasks.tiny.enqueue_many({"value": n} for n in range(300))
    assert report.created == 300
    worker = project_on.start_worker()
    wait_until_idle()

    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert sorted(Job.objects.values_list("result", flat=True)) == list(range(300))
    starts = [words[3] for words in project_on.history() if words[2] == "start"]
    assert len(starts) == len(set(starts)) == 300
    assert project_on.overlaps() == []
    messages = _received(worker, "app.tiny")
    if project_on.broker_url:
        assert messages < 200
    else:
        # On the database broker a row is its own message.
        assert messages == 300


# -- kills and stops


def test_a_child_killed_in_the_middle_of_a_pack_loses_none_of_its_jobs(carried: Project) -> None:
    carried.taskyard = {**SHORT, **NEVER_AGAIN}
    worker = _start(carried)
    jobs = _steered(carried, "ok", "ok", "wait", "ok", "note", "fail-once")
    child = _wait_for_start(carried, jobs[2])

    os.kill(child, signal.SIGKILL)
    carried.release()
    wait_until_idle()

    assert {job.state for job in Job.objects.all()} == {"succeeded"}
    assert carried.overlaps() == []
    ends = [words[3] for words in carried.history() if words[2] == "end" and int(words[1]) != child]
    assert sorted(set(ends)) == sorted(str(job.id) for job in jobs)
    for job in jobs[2:]:
        # What had not ended ran again in a message of its own, and nobody's crash was counted.
        assert f"app.tiny_steered[{job.id}] received" in worker.output()
        assert Job.objects.get(id=job.id).crashes == 0
    assert Attempt.objects.filter(job_id=jobs[2].id).get().error_type == "WorkerLost"
    assert worker.process.poll() is None


def test_a_job_that_kills_its_child_is_quarantined_and_its_fellows_succeed(on_redis: Project) -> None:
    on_redis.taskyard = {**SHORT, "POISON_AFTER": 1}
    _start(on_redis)
    before, poison, after = _steered(on_redis, "ok", "die", "ok")
    wait_until_idle()

    dead = Job.objects.get(id=poison.id)
    assert (dead.state, dead.error["reason"], dead.attempt) == ("failed", "poison", 2)
    assert {Job.objects.get(id=job.id).state for job in (before, after)} == {"succeeded"}
    assert on_redis.overlaps() == []


def test_a_worker_killed_in_the_middle_of_a_pack_loses_none_of_its_jobs(carried: Project) -> None:
    carried.taskyard = SHORT
    worker = _start(carried)
    jobs = _steered(carried, "ok", "wait", "ok", "ok")
    _wait_for_start(carried, jobs[1])
    other = _start(carried)

    worker.kill_group()
    carried.release()
    wait_until_idle()

    assert {job.state for job in Job.objects.all()} == {"succeeded"}
    assert carried.overlaps() == []
    assert other.process.poll() is None


def test_a_worker_that_must_stop_gives_the_rest_of_a_pack_back_without_a_lost_attempt(carried: Project) -> None:
    carried.taskyard = {**NEVER_AGAIN, "SHUTDOWN_GRACE": {"seconds": 0.5}}
    worker = _start(carried)
    jobs = _steered(carried, "ok", "wait", "ok", "ok")
    _wait_for_start(carried, jobs[1])

    worker.ask_to_stop()
    assert worker.process.wait(20) == 0, worker.output()
    for job in jobs[1:]:
        back = Job.objects.get(id=job.id)
        assert back.state in ("retrying", "queued")
        assert (back.attempt, back.max_attempts, back.crashes) == (1, job.max_attempts + 1, 0)
        assert [attempt.error_type for attempt in back.attempts.all()] == ["Released"]

    carried.release()
    _start(carried)
    wait_until_idle()
    assert [Job.objects.get(id=job.id).state for job in jobs] == ["succeeded"] * 4
    assert [Job.objects.get(id=job.id).attempt for job in jobs[1:]] == [2] * 3
    assert carried.overlaps() == []


def test_a_time_limit_of_the_worker_strikes_the_job_that_takes_too_long_and_not_its_fellows(on_redis: Project) -> None:
    # Ended for good at the first time it has its limit to itself.
    on_redis.taskyard = NEVER_AGAIN
    worker = _start(on_redis, "--time-limit", "1")
    jobs = _steered(on_redis, "ok", "wait", "ok", "ok")
    last = wait_for_state(jobs[1].id, lambda state: state in ("failed", "succeeded"), 40)
    wait_until_idle()

    assert (last.state, last.error["type"], last.attempt) == ("failed", "TimeLimitExceeded", 4)
    assert [Job.objects.get(id=job.id).state for job in (jobs[0], *jobs[2:])] == ["succeeded"] * 3
    assert worker.process.poll() is None


def test_packs_lost_with_the_broker_are_published_again(project: Project) -> None:
    with servers.private_redis() as server, redis.Redis.from_url(server.url) as client:
        project.broker_url, project.taskyard = server.url, SHORT
        _start(project, "-c", "1")
        busy = tasks.hold.enqueue(path=project.go)
        _wait_for_start(project, busy)
        jobs = _queued(tasks.tiny, [{"value": n} for n in range(40)])
        _publish_pack(project, jobs[:20])
        _publish_pack(project, jobs[20:])
        client.flushall()
        project.release()
        wait_until_idle()
        assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
        assert [project.started(job.id) for job in jobs] == [1] * 40
        project.close()


# -- what somebody else puts into a queue

ONE = str(uuid.UUID(int=1))
MALFORMED: dict[str, dict[str, Any]] = {
    "no jobs": {PACK: []},
    "a word": {PACK: "jobs"},
    "a number": {PACK: 7},
    "an object": {PACK: {"a": ONE}},
    "too many jobs": {PACK: [ONE] * 1001},
    "numbers": {PACK: [1, 2]},
    "no UUIDs": {PACK: [ONE, "report-17"]},
    "lists": {PACK: [[ONE]]},
    "a time limit": {PACK: [ONE], "timelimit": [5, None]},
    "a soft time limit": {PACK: [ONE], "timelimit": [None, 5]},
    "no UUIDs and an unknown task": {PACK: ["x"], "task": "evil.task"},
    "too many jobs of an unknown task": {PACK: [ONE] * 1001, "task": "evil.task"},
}


def test_no_malformed_pack_stops_a_worker(project_on: Project) -> None:
    project_on.taskyard = NEVER_AGAIN
    worker = _start(project_on, "-c", "1")
    (good,) = _queued(tasks.tiny, [{"value": 1}])
    body, headers, properties = pack_message(_outgoing([good]))
    # It was only needed for its headers: a queued job without a message would stand in the window.
    Job.objects.all().delete()
    _publish(project_on, *((body, headers | changes, properties) for changes in MALFORMED.values()))

    wait_until(lambda: worker.output().count("Message dropped") >= len(MALFORMED), 30, "each is dropped")
    wait_for_state(tasks.note.enqueue(text="still runs").id, "succeeded")
    assert worker.process.poll() is None
    assert "Unrecoverable error" not in worker.output()


def test_all_jobs_of_a_pack_of_an_unknown_task_go_back_to_the_table(on_redis: Project) -> None:
    on_redis.taskyard = NEVER_AGAIN
    worker = _start(on_redis, "-c", "1")
    jobs = _queued(tasks.tiny, [{"value": n} for n in range(5)])
    mine = Job.objects.filter(id__in=[job.id for job in jobs])
    mine.update(task="app.only_later")
    _publish_pack(on_redis, jobs)

    wait_until(lambda: mine.filter(state="pending").count() == 5, 30, "all are back")
    assert set(mine.values_list("attempt", flat=True)) == {0}
    mine.update(task="app.tiny")
    wait_until_idle()
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert worker.process.poll() is None


def test_where_messages_are_signed_a_pack_is_dropped_and_an_empty_one_hides_no_digest(
    project: Project, redis_url: str
) -> None:
    keys = {"SIGNING_KEYS": ["k" * 32]}
    project.broker_url, project.taskyard = redis_url, {**NEVER_AGAIN, **keys}
    worker = _start(project, "-c", "1")
    jobs = _queued(tasks.tiny, [{"value": n} for n in range(3)])
    with override_settings(TASKYARD=keys):
        body, headers, properties = pack_message(_outgoing(jobs))
        signing.sign(body, headers, properties=properties)
        other, hidden, own = thin_message(_outgoing(jobs)[0])
        hidden[PACK] = None
        signing.sign(other, hidden, properties=own, digest=signing.arguments_digest("[]", json.dumps({"value": 7})))
    _publish(project, (body, headers, properties), (other, hidden, own))

    wait_until(lambda: "a signed message has no pack" in worker.output(), 30, "the pack is dropped")
    wait_until(lambda: Attempt.objects.filter(job_id=jobs[0].id, error_type="Snoozed").exists(), 30, "it is put back")
    assert [Job.objects.get(id=job.id).state for job in jobs[1:]] == ["queued"] * 2
