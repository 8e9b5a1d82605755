"""A long-running job leaves the broker: its row carries it, and its worker's death still loses nothing."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis

from taskyard.models import Job
from tests import servers
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state

SHORT = {"WORKER_TIMEOUT": {"seconds": 3}, "HEARTBEAT": {"seconds": 0.5}, "REPUBLISH_AFTER": {"seconds": 1}}


@pytest.fixture(params=["redis", "rabbitmq"])
def unacknowledged(request: pytest.FixtureRequest, project: Project) -> Iterator[Callable[[], int]]:
    """How many messages the project's workers hold at the broker; once for Redis, once for RabbitMQ."""
    with ExitStack() as stack:
        if request.param == "redis":
            server = stack.enter_context(servers.private_redis())
            client = stack.enter_context(redis.Redis.from_url(server.url))
            count = lambda: int(client.hlen("unacked"))  # noqa: E731
        else:
            server = stack.enter_context(servers.private_rabbitmq())
            count = lambda: _held_by_consumers(server)  # noqa: E731
        project.broker_url = server.url
        yield count
        project.release()
        project.close()


def _held_by_consumers(server: servers.PrivateServer) -> int:
    rows = server.control("list_queues", "messages_unacknowledged", "--no-table-headers")  # type: ignore[attr-defined]
    return sum(map(int, rows.split()))


def test_a_long_job_is_acknowledged_early_and_ends_once_even_if_its_worker_is_killed(
    project: Project, unacknowledged: Callable[[], int]
) -> None:
    project.taskyard = {**SHORT, "ACKNOWLEDGE_AFTER": {"seconds": 1}}
    worker = project.start_worker("-c", "2")
    long = [tasks.hold.enqueue(path=project.go) for _ in range(2)]
    for job in long:
        wait_for_state(job.id, "running")
    wait_until(lambda: unacknowledged() == 0, 40, "the broker has nothing in the worker's hands")
    assert {job.state for job in Job.objects.all()} == {"running"}
    # The busy worker may take a message ahead (a prefetch count of zero would mean "without limit"): one with free
    # slots gets the job all the same.
    short = tasks.note.enqueue(text="short")
    wait_until(lambda: f"{short.id}] received" in worker.output(), 30, "the busy worker takes it ahead")
    second = project.start_worker("-c", "2")
    wait_for_state(short.id, "succeeded")

    worker.kill_group()
    for job in long:
        wait_until(lambda job=job: project.started(job.id) == 2, 40, "it runs again")
    project.release()
    for job in long:
        done = wait_for_state(job.id, "succeeded")
        assert (done.attempt, done.result) == (2, "released")
    assert project.started(short.id) == 1
    ends = [words[3] for words in project.history() if words[2] == "end" and words[5] == "hold"]
    assert sorted(ends) == sorted(str(job.id) for job in long)
    assert project.overlaps() == []
    assert second.process.poll() is None
