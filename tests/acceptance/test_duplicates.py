"""A second message of a job, whenever it comes, starts nothing."""

from taskyard.models import Job
from tests.app import tasks
from tests.brokers import channel_of, publish_again
from tests.servers import wait_until
from tests.workers import Project, WorkerProcess, wait_for_state


def _wait_for_drops(worker: WorkerProcess, job: Job, count: int) -> None:
    line = f"message of job {job.id} dropped"
    wait_until(lambda: worker.output().count(line) >= count, 30, f"{count} messages of the job are dropped")


def test_a_duplicate_is_dropped_while_its_job_runs_and_after_it_ended(project_on: Project) -> None:
    worker = project_on.start_worker()
    job = tasks.hold.enqueue(path=project_on.go)
    wait_until(lambda: project_on.started(job.id), 30, "the job runs")

    publish_again(project_on, job.id)
    _wait_for_drops(worker, job, 1)
    assert Job.objects.get(id=job.id).state == "running"
    project_on.release()
    wait_for_state(job.id, "succeeded")
    publish_again(project_on, job.id)
    _wait_for_drops(worker, job, 2)

    wait_for_state(tasks.note.enqueue(text="the worker goes on").id, "succeeded")
    done = Job.objects.get(id=job.id)
    assert (done.state, done.result, done.attempt) == ("succeeded", "released", 1)
    assert project_on.started(job.id) == 1


def test_a_visibility_timeout_shorter_than_the_job_starts_nothing_twice(project: Project, redis_url: str) -> None:
    project.broker_url = redis_url
    project.celery = {"BROKER_TRANSPORT_OPTIONS": {"visibility_timeout": 1}}
    worker = project.start_worker()
    job = tasks.hold.enqueue(path=project.go)
    wait_until(lambda: project.started(job.id), 30, "the job runs")

    with channel_of(project) as channel:
        # What every worker's connection does now and then: what is unacknowledged for too long goes to the queue. A
        # job's message is not there: its row knows that it was taken.
        assert channel.client.zcard(channel.unacked_index_key) == 0
        channel.qos.restore_visible(num=10, interval=1)
    # A later message comes through, so an earlier one would have come too.
    wait_for_state(tasks.note.enqueue(text="later").id, "succeeded")
    assert "dropped" not in worker.output()
    project.release()

    assert wait_for_state(job.id, "succeeded").attempt == 1
    assert project.started(job.id) == 1
