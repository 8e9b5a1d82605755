"""A Redis that is out of memory refuses to hand out and to take back; nobody dies of it, nothing is lost."""

import redis

from taskyard.models import Job
from tests import servers
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle


def test_a_worker_outlives_a_redis_that_is_out_of_memory(project: Project) -> None:
    project.taskyard = {"REPUBLISH_AFTER": {"seconds": 1}}
    with servers.private_redis() as broker, redis.Redis.from_url(broker.url) as client:
        project.broker_url = broker.url
        worker = project.start_worker()
        jobs = [tasks.hold.enqueue(path=project.go) for _ in range(2)]
        for job in jobs:
            wait_for_state(job.id, "running")

        client.config_set("maxmemory", 1)
        jobs += [tasks.note.enqueue(text="while it is full") for _ in range(5)]
        # The jobs end; their messages cannot be acknowledged.
        project.release()
        wait_until(lambda: "OutOfMemoryError" in worker.output(), 30, "the worker meets it")
        client.config_set("maxmemory", 0)

        wait_until_idle(60)
        assert {(job.state, job.attempt) for job in Job.objects.all()} == {("succeeded", 1)}
        assert [project.started(job.id) for job in jobs] == [1] * 7
        assert worker.process.poll() is None
        project.close()
