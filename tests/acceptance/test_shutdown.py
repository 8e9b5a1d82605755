"""SIGTERM: what can end within the grace period ends, the rest goes back without a lost attempt."""

import time

from taskyard.models import Attempt, Job
from tests.app import tasks
from tests.brokers import waiting
from tests.servers import wait_until
from tests.workers import Project, wait_until_idle


def test_a_job_that_ends_within_the_grace_period_is_waited_for(project_on: Project) -> None:
    project_on.taskyard = {"SHUTDOWN_GRACE": {"seconds": 40}}
    worker = project_on.start_worker()
    job = tasks.hold.enqueue(path=project_on.go)
    wait_until(lambda: project_on.started(job.id), 30, "the job runs")

    worker.ask_to_stop()
    wait_until(lambda: "Warm shutdown" in worker.output(), 30, "the worker stops taking")
    late = tasks.note.enqueue(text="nobody takes it")
    project_on.release()

    assert worker.process.wait(30) == 0, worker.output()
    done = Job.objects.get(id=job.id)
    assert (done.state, done.attempt, done.result) == ("succeeded", 1, "released")
    assert project_on.started(late.id) == 0
    assert not Attempt.objects.exists()


def test_jobs_that_outlast_the_grace_period_go_back_and_continue_from_their_checkpoint(project_on: Project) -> None:
    grace = 1.0
    project_on.taskyard = {"SHUTDOWN_GRACE": {"seconds": grace}}
    # Four messages in hand for each slot: two jobs run, others wait in the worker's memory.
    project_on.celery = {"WORKER_PREFETCH_MULTIPLIER": 4}
    worker = project_on.start_worker()
    running = [tasks.with_checkpoint.enqueue(path=project_on.go) for _ in range(2)]
    wait_until(lambda: Job.objects.filter(checkpoint__isnull=False).count() == 2, 30, "both saved a checkpoint")
    prefetched = [tasks.note.enqueue(text=text) for text in ("one", "two")]
    for job in prefetched:
        wait_until(lambda job=job: f"{job.id}] received" in worker.output(), 30, "the worker has it in hand")

    asked_at = time.monotonic()
    worker.ask_to_stop()
    assert worker.process.wait(grace + 20) == 0, worker.output()
    assert time.monotonic() - asked_at < grace + 8

    for job in running:
        back = Job.objects.get(id=job.id)
        # The worker's own feeder may have fed it again before it ended.
        assert back.state in ("retrying", "queued")
        assert (back.attempt, back.max_attempts) == (1, job.max_attempts + 1)
        assert [attempt.error_type for attempt in back.attempts.all()] == ["Released"]
    # At once, not when somebody misses them: each has a message that is in nobody's hands.
    assert {Job.objects.get(id=job.id).state for job in prefetched} <= {"queued", "pending"}
    queued = Job.objects.filter(state="queued")
    assert waiting(project_on) >= queued.count()
    assert not queued.filter(worker__isnull=False).exists()

    project_on.start_worker()
    wait_until_idle(30)
    for job in running:
        done = Job.objects.get(id=job.id)
        assert (done.state, done.attempt, done.result) == ("succeeded", 2, {"page": 7})
    for job in prefetched:
        done = Job.objects.get(id=job.id)
        assert (done.state, done.attempt) == ("succeeded", 1)
        assert project_on.started(job.id) == 1
    assert project_on.overlaps() == []
