"""What happens to RabbitMQ: alarms, closed connections, restarts, a consumer's time-out."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from taskyard.jobs.models import Job
from tests import servers
from tests.app import tasks
from tests.brokers import channel_of
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

SHORT: dict[str, Any] = {"REPUBLISH_AFTER": {"seconds": 1}, "PUBLISH_TIMEOUT": {"seconds": 1}}


@pytest.fixture(scope="module")
def node() -> Iterator[Any]:
    """A node of our own for all tests here: each of them leaves it as it was."""
    with servers.private_rabbitmq() as made:
        yield made


@pytest.fixture
def server(node: Any, project: Project) -> Iterator[Any]:
    """The node with the project on it; its queue goes with the test."""
    project.broker_url = node.url
    project.taskyard = dict(SHORT)
    yield node
    project.release()
    project.close()
    with channel_of(project) as channel:
        channel.queue_delete("celery")


#: How an alarm is raised, and how it ends.
ALARMS = {
    "memory": "vm_memory_monitor:set_vm_memory_high_watermark({})",
    "disk": "rabbit_disk_monitor:set_disk_free_limit({})",
}
RAISED, OVER = {"memory": "0.00001", "disk": '"100000GB"'}, {"memory": "0.4", "disk": '"1MB"'}


@pytest.mark.parametrize("alarm", ALARMS)
def test_jobs_enqueued_during_an_alarm_stay_in_the_table_and_run_when_it_is_over(
    project: Project, server: Any, alarm: str
) -> None:
    worker = project.start_worker()
    held = tasks.hold.enqueue(path=project.go)
    wait_for_state(held.id, "running")

    server.evaluate(ALARMS[alarm].format(RAISED[alarm]))
    try:
        # Plain Celery says that these were published; most of them never existed.
        jobs = [tasks.note.enqueue(text=str(number)) for number in range(4)]
        wait_until(lambda: "not confirmed; they stay in the table" in worker.output(), 30, "nothing is confirmed")
        project.release()
        wait_for_state(held.id, "succeeded")
        assert set(Job.objects.exclude(id=held.id).values_list("attempt", flat=True)) == {0}
    finally:
        server.evaluate(ALARMS[alarm].format(OVER[alarm]))

    wait_until_idle(40)
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert [project.started(job.id) for job in jobs] == [1] * 4
    assert worker.process.poll() is None


def test_a_job_whose_connection_is_closed_runs_on_and_its_second_delivery_is_dropped(
    project: Project, server: Any
) -> None:
    worker = project.start_worker()
    jobs = [tasks.hold.enqueue(path=project.go) for _ in range(2)]
    wait_until(lambda: all(project.started(job.id) for job in jobs), 30, "both run")

    # One that ends by itself meanwhile is no error.
    server.evaluate('[catch rabbit_networking:close_connection(C, "a test") || C <- rabbit_networking:connections()]')
    wait_until(lambda: worker.output().count("Connected to") == 2, 30, "it is connected again")
    for job in jobs:
        line = f"{job.id}] received"
        wait_until(lambda line=line: worker.output().count(line) >= 2, 30, "what was not acknowledged comes again")
    project.release()
    wait_until_idle(30)
    assert set(Job.objects.values_list("state", "attempt", "result")) == {("succeeded", 1, "released")}
    assert [project.started(job.id) for job in jobs] == [1, 1]
    assert worker.process.poll() is None


def test_a_worker_goes_on_after_the_broker_was_stopped_and_started(project: Project, server: Any) -> None:
    worker = project.start_worker()
    before = tasks.hold.enqueue(path=project.go)
    wait_for_state(before.id, "running")
    server.evaluate("rabbit:stop()")
    wait_until(lambda: "Connection to broker lost" in worker.output(), 30, "it notices")
    project.release()
    jobs = [before, *(tasks.note.enqueue(text=str(number)) for number in range(5))]
    server.evaluate("rabbit:start()")

    wait_until_idle(40)
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert [project.started(job.id) for job in jobs] == [1] * 6
    assert worker.process.poll() is None


@pytest.fixture
def consumer_timeout(server: Any) -> Iterator[float]:
    """Seconds after which the broker closes the channel of who holds a message."""

    def allow(timeout_ms: int, tick_ms: int) -> None:
        server.evaluate(
            f"application:set_env(rabbit, consumer_timeout, {timeout_ms}),"
            f" application:set_env(rabbit, channel_tick_interval, {tick_ms})"
        )

    allow(8_000, 500)
    yield 8.0
    allow(1_800_000, 60_000)


@pytest.mark.slow
@pytest.mark.parametrize("is_acknowledged", [True, False], ids=["acknowledged early", "not acknowledged"])
def test_a_job_longer_than_the_consumer_timeout_does_not_harm_its_worker(
    project: Project, server: Any, consumer_timeout: float, is_acknowledged: bool
) -> None:
    project.taskyard["ACKNOWLEDGE_AFTER"] = {"seconds": 1 if is_acknowledged else 3600}
    worker = project.start_worker("-c", "1")
    long = tasks.hold.enqueue(path=project.go)
    wait_until(lambda: project.started(long.id), 30, "it runs")
    # Behind the only slot's job one message may be taken ahead.
    ahead = tasks.note.enqueue(text="ahead")
    started_at = Job.objects.get(id=long.id).started_at
    assert started_at is not None

    def broker_has_had_enough() -> bool:
        return "delivery acknowledgement on channel" in worker.output()

    def has_run_for_longer() -> bool:
        return timezone.now() - started_at > dt.timedelta(seconds=consumer_timeout + 2)

    wait_until(has_run_for_longer if is_acknowledged else broker_has_had_enough, 60, "the broker's patience ends")
    assert broker_has_had_enough() is not is_acknowledged
    project.release()
    wait_until_idle(40)
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert (project.started(long.id), project.started(ahead.id)) == (1, 1)
    assert worker.process.poll() is None
