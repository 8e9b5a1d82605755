"""The broker forgets everything, or is away: nothing is lost, and nobody who enqueues notices."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from taskyard.celery.broker.models import Binding, Message
from taskyard.models import Job
from tests import servers
from tests.app import tasks
from tests.brokers import waiting
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

JOBS = 1000


def _empty_the_tables(_: Any) -> None:
    Message.objects.all().delete()
    Binding.objects.all().delete()


#: How to start a broker of one's own, and how it loses what it holds.
LOSSES: dict[str, tuple[Callable[[], Any] | None, Callable[[Any], Any]]] = {
    "database": (None, _empty_the_tables),
    "redis": (servers.private_redis, lambda server: server.flush()),
    "rabbitmq": (servers.private_rabbitmq, lambda server: server.delete_queue("celery")),
}


@pytest.fixture(params=LOSSES)
def loss(request: pytest.FixtureRequest, project: Project) -> Iterator[Callable[[], None]]:
    """Makes the project's broker forget its messages; runs the test once per broker."""
    start, lose = LOSSES[request.param]
    with ExitStack() as stack:
        server = stack.enter_context(start()) if start else None
        project.broker_url = server.url if server else ""
        yield lambda: lose(server)
        project.release()
        project.close()


def test_a_thousand_jobs_in_flight_survive_the_loss_of_their_messages(
    project: Project, loss: Callable[[], None]
) -> None:
    project.taskyard = {"WINDOW_UNATTENDED": JOBS, "REPUBLISH_AFTER": {"seconds": 1}}
    project.start_worker("-Q", "elsewhere", "-c", "1")
    assert tasks.hold.enqueue_many({"path": project.go} for _ in range(JOBS)).created == JOBS
    wait_until(lambda: waiting(project) == JOBS, 60, "all are in the broker")
    project.start_worker("-c", "4")
    wait_until(lambda: Job.objects.filter(state="running").count() == 4, 30, "four of them run")

    loss()
    project.release()
    wait_until_idle(90)

    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    starts = [words[3] for words in project.history() if words[2] == "start"]
    assert len(starts) == len(set(starts)) == JOBS


ENQUEUE_AND_TELL_CONNECTIONS = """
import json, sys
connections = []
sys.addaudithook(lambda event, args: connections.append(args[1]) if event == "socket.connect" else None)
from celery import group
from tests.app import tasks
ids = [tasks.note.enqueue(text="away").id, tasks.add.delay(1, 2).id, (tasks.add.s(1, 2) | tasks.add.s(3)).delay().id]
ids += [result.id for result in group(tasks.add.s(1, 1), tasks.add.s(2, 2)).delay().results]
ids.append(tasks.add.apply_async((1, 2), countdown=0.1).id)
print(json.dumps([[str(job_id) for job_id in ids], [list(map(str, address)) for address in connections]]))
"""


def _enqueue_elsewhere(project: Project) -> list[str]:
    """Enqueue in a process of its own, as a web request would; asserts that it opens no connection to the broker."""
    ids, connections = json.loads(project.run_python(ENQUEUE_AND_TELL_CONNECTIONS).splitlines()[-1])
    port = str(urlsplit(project.broker_url).port)
    assert [address for address in connections if port in address] == []
    return list(ids)


@pytest.mark.parametrize("start", [servers.private_redis, servers.private_rabbitmq], ids=["redis", "rabbitmq"])
def test_enqueuing_never_touches_a_broker_that_is_away_and_the_jobs_run_when_it_is_back(
    project: Project, start: Callable[[], Any]
) -> None:
    project.taskyard = {"PUBLISH_TIMEOUT": {"seconds": 1}, "REPUBLISH_AFTER": {"seconds": 2}}
    with start() as broker:
        project.broker_url = broker.url
        worker = project.start_worker()
        wait_for_state(tasks.note.enqueue(text="it works").id, "succeeded")

        for away, back in ((broker.freeze, broker.thaw), (broker.kill, broker.start)):
            refusals = _refusals(worker.output())
            away()
            ids = _enqueue_elsewhere(project)
            wait_until(lambda seen=refusals: _refusals(worker.output()) > seen, 30, "the feeder cannot publish")
            back()
            for job_id in ids:
                wait_for_state(job_id, "succeeded", timeout=60)
        assert worker.process.poll() is None
        assert project.overlaps() == []
        worker.kill_group()


def _refusals(log: str) -> int:
    return len(re.findall("was not confirmed", log))
