"""A connection that only one side believes in: nobody is told, and the worker consumes again within a minute."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard.models import Job, Worker
from taskyard.testing.proxy import Proxy
from tests.app import tasks
from tests.brokers import waiting
from tests.conftest import BROKERS
from tests.servers import wait_until
from tests.workers import Project, WorkerProcess, wait_for_state

#: For tests of one way to notice: the other does not get a turn.
NEVER = {"seconds": 3600}


@pytest.fixture(params=["redis", "rabbitmq"])
def proxy(request: pytest.FixtureRequest, project: Project) -> Iterator[Proxy]:
    """Stands before the project's broker; runs the test once for Redis, once for RabbitMQ."""
    with BROKERS[request.param]() as address, Proxy(address) as made:
        project.broker_url = address
        yield made
        project.close()


def _start_behind(proxy: Proxy, project: Project, *arguments: str) -> WorkerProcess:
    """A worker whose connections go through the proxy, while the feeder, in another worker, has its own."""
    project.start_worker("-Q", "elsewhere", "-c", "1")
    own = json.dumps({**project.taskyard, "AGENTS": False})
    worker = project.start_worker(*arguments, TASKYARD_TEST_BROKER_URL=proxy.url, TASKYARD_TEST_TASKYARD=own)
    wait_for_state(tasks.note.enqueue(text="it works").id, "succeeded")
    return worker


def _is_redis(project: Project) -> bool:
    return project.broker_url.startswith("redis")


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_whose_connections_are_half_open_connects_anew_and_runs_what_they_swallowed(
    project: Project, proxy: Proxy, pool: str
) -> None:
    project.taskyard = {"RECONNECT_AFTER": {"seconds": 4}, "REPUBLISH_AFTER": {"seconds": 1}}
    worker = _start_behind(proxy, project, "-P", pool)

    assert proxy.half_open() > 0
    swallowed = tasks.note.enqueue(text="sent into a connection that leads nowhere")
    wait_until(lambda: Job.objects.filter(id=swallowed.id, publishes__gte=1).exists(), 30, "it is published")
    wait_until(lambda: waiting(project) == 0, 10, "the broker has handed it out")
    assert Job.objects.get(id=swallowed.id).state == "queued"

    assert wait_for_state(swallowed.id, "succeeded", 40).publishes > 1
    assert wait_for_state(tasks.note.enqueue(text="later").id, "succeeded").attempt == 1
    assert project.started(swallowed.id) == 1
    assert "while jobs of its queues stand queued: reconnecting" in worker.output()
    assert worker.process.poll() is None


#: Heartbeats and health checks as short as they go, so that they notice before a test gets impatient.
NOTICES_SOON: dict[str, Any] = {
    "BROKER_HEARTBEAT": 2,
    "BROKER_TRANSPORT_OPTIONS": {"health_check_interval": 1, "socket_timeout": 1.5},
}


def test_an_idle_worker_notices_by_itself_and_closes_nothing_politely(project: Project, proxy: Proxy) -> None:
    # Nothing stands queued, so that the watchdog has no reason to look.
    project.taskyard = {"RECONNECT_AFTER": NEVER}
    project.celery = dict(NOTICES_SOON)
    if not _is_redis(project):
        # What RabbitMQ's driver does not know ends a connection to it.
        del project.celery["BROKER_TRANSPORT_OPTIONS"]
    worker = _start_behind(proxy, project)
    held = proxy.half_open()

    wait_until(lambda: proxy.connections > held, 40, "it has new connections")
    done = wait_for_state(tasks.note.enqueue(text="after").id, "succeeded", 40)
    assert done.attempt == 1
    assert worker.process.poll() is None


@pytest.mark.verify
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_with_default_settings_a_worker_consumes_again_within_a_minute(
    project: Project, proxy: Proxy, pool: str
) -> None:
    worker = _start_behind(proxy, project, "-P", pool)
    proxy.half_open()
    job = tasks.note.enqueue(text="after")
    # Plain Celery stood idle for more than 400 seconds.
    assert wait_for_state(job.id, "succeeded", timeout=60).attempt == 1
    assert worker.process.poll() is None


def test_a_worker_that_new_connections_do_not_help_ends_with_exit_code_1_after_its_jobs(
    project: Project, proxy: Proxy
) -> None:
    project.taskyard = {"RECONNECT_AFTER": {"seconds": 3}, "SHUTDOWN_GRACE": {"seconds": 40}}
    worker = _start_behind(proxy, project)
    running = tasks.hold.enqueue(path=project.go)
    wait_for_state(running.id, "running")

    # Its broker never has a message of this job, whatever the row says.
    missing = tasks.note.using(queue_name="elsewhere", run_after=dt.timedelta(hours=1)).enqueue(text="lost")
    rows = Job.objects.filter(id=missing.id)
    rows.update(queue="celery", state="queued", publishes=1)
    wait_until(lambda: "stand queued: reconnecting" in worker.output(), 30, "it connects anew")

    def is_told_to_end() -> bool:
        # As if published again and again.
        rows.update(publishes=Job.objects.get(id=missing.id).publishes + 1)
        return "ending with exit code 1" in worker.output()

    wait_until(is_told_to_end, 30, "it gives up")
    assert Job.objects.get(id=running.id).state == "running"
    project.release()
    assert worker.process.wait(30) == 1, worker.output()
    done = Job.objects.get(id=running.id)
    assert (done.state, done.attempt) == ("succeeded", 1)
    assert Worker.objects.count() == 1


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_is_asked_to_stop_does_not_wait_for_a_broker_that_says_nothing(
    project: Project, proxy: Proxy, pool: str
) -> None:
    project.taskyard = {"RECONNECT_AFTER": NEVER}
    worker = _start_behind(proxy, project, "-P", pool)
    held = tasks.hold.enqueue(path=project.go)
    wait_for_state(held.id, "running")

    assert proxy.half_open() > 0
    worker.ask_to_stop()
    project.release()
    # Five seconds for each answer that does not come, three until the connections are cut, within the grace period.
    assert worker.process.wait(22) == 0, worker.output()
    assert Job.objects.get(id=held.id).state == "succeeded"
