"""What happens to Redis: jobs outlive it, and the worker that was connected to it goes on by itself."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from taskyard.jobs.models import Job
from tests import servers
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_until_idle

SHORT: dict[str, Any] = {"REPUBLISH_AFTER": {"seconds": 1}, "PUBLISH_TIMEOUT": {"seconds": 1}}
JOBS = 20


@pytest.fixture
def server(project: Project) -> Iterator[Any]:
    """A Redis to break, with the project on it."""
    with servers.private_redis() as made:
        project.broker_url = made.url
        project.taskyard = dict(SHORT)
        yield made
        project.close()


def _client(server: Any) -> Any:
    return redis.Redis.from_url(server.url)


def _enqueue(count: int = JOBS) -> list[Job]:
    return [tasks.hold.enqueue(path="/") for _ in range(count)]


def _assert_each_ran_once(project: Project, jobs: list[Job]) -> None:
    wait_until_idle(60)
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert [project.started(job.id) for job in jobs] == [1] * len(jobs)


def _restart(server: Any) -> None:
    server.kill()
    _enqueue(5)
    server.start()


def _storm(server: Any) -> None:
    for _ in range(5):
        with _client(server) as client:
            client.client_kill_filter(_type="pubsub")
            client.client_kill_filter(_type="normal", skipme=True)
        _enqueue(2)


@pytest.mark.parametrize("fault", [_restart, _storm])
def test_a_worker_goes_on_after_redis_was_restarted_or_closed_its_connections_again_and_again(
    project: Project, server: Any, fault: Callable[[Any], None]
) -> None:
    worker = project.start_worker()
    jobs = _enqueue()
    fault(server)
    _assert_each_ran_once(project, jobs)
    assert worker.process.poll() is None


def test_jobs_outlive_a_redis_whose_disk_is_full_and_that_forgets_what_it_confirmed(project: Project) -> None:
    broker = servers.private_redis()
    broker.disk_bytes = 3_000_000
    # A queued message is on disk a second later, or never.
    broker.options = {"--appendonly": "yes", "--appendfsync": "everysec"}
    with _started(broker):
        project.broker_url, project.taskyard = broker.url, dict(SHORT)
        worker = project.start_worker()
        jobs = [tasks.hold.enqueue(path=project.go) for _ in range(2)]
        wait_until(lambda: all(project.started(job.id) for job in jobs), 30, "two jobs run")

        broker.fill_disk()
        jobs += _enqueue(5)
        wait_until(lambda: "MISCONF" in worker.output(), 40, "it refuses to write")
        project.release()
        wait_until(lambda: Job.objects.filter(state="succeeded").count() >= 2, 30, "what ran ends")
        broker.kill()
        broker.empty_disk()
        broker.start()

        _assert_each_ran_once(project, jobs)
        assert worker.process.poll() is None
        project.close()


def _started(broker: Any) -> Any:
    try:
        return broker.__enter__() and closing(broker)
    except servers.ServerMissing as missing:
        pytest.skip(str(missing))
