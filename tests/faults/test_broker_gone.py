"""The broker goes away while jobs run: the worker goes on, and comes back with it."""

from collections.abc import Callable
from typing import Any

import pytest

from taskyard.models import Job
from tests import servers
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle


@pytest.mark.parametrize("start", [servers.private_redis, servers.private_rabbitmq], ids=["redis", "rabbitmq"])
def test_a_worker_outlives_a_broker_that_is_killed_while_its_jobs_run(
    project: Project, start: Callable[[], Any]
) -> None:
    project.taskyard = {"REPUBLISH_AFTER": {"seconds": 1}}
    with start() as broker:
        project.broker_url = broker.url
        worker = project.start_worker()
        jobs = [tasks.hold.enqueue(path=project.go)]
        for job in jobs:
            wait_for_state(job.id, "running")

        broker.kill()
        wait_until(lambda: "Connection to broker lost" in worker.output(), 30, "the worker meets it")
        project.release()
        for job in jobs:
            wait_for_state(job.id, "succeeded")
        broker.start()

        jobs.append(tasks.note.enqueue(text="and it consumes again"))
        wait_until_idle(60)
        assert {(job.state, job.attempt) for job in Job.objects.all()} == {("succeeded", 1)}
        assert [project.started(job.id) for job in jobs] == [1] * 2
        assert worker.process.poll() is None
        project.close()
