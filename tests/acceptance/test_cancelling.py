"""A cancelled job stays cancelled, whichever state it was in and whatever restarts."""

import datetime as dt

from django.utils import timezone

from taskyard.execution import steering
from taskyard.models import Job
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state


def test_a_job_cancelled_in_any_state_stays_cancelled_when_workers_restart(project_on: Project) -> None:
    worker = project_on.start_worker("-c", "2")
    running = tasks.patient.enqueue(path=project_on.go)
    wait_for_state(running.id, "running")
    retrying = tasks.retry_much_later.enqueue()
    wait_for_state(retrying.id, "retrying")
    pending = tasks.note.using(run_after=dt.timedelta(hours=1)).enqueue(text="pending")
    # Its queue is fed, and consumed by nobody yet.
    queued = tasks.note.using(queue_name="unattended").enqueue(text="queued")
    wait_for_state(queued.id, "queued")
    cancelled = [running.id, retrying.id, pending.id, queued.id]

    assert steering.cancel(cancelled, timezone.now()) == 4
    for job_id in cancelled:
        wait_for_state(job_id, "cancelled")
    assert worker.stop() == 0
    Job.objects.filter(id__in=cancelled).update(available_at=timezone.now())
    second = project_on.start_worker("-Q", "celery,unattended")
    marker = tasks.note.using(queue_name="unattended").enqueue(text="behind the cancelled one")
    wait_for_state(marker.id, "succeeded")
    if project_on.broker_url:
        line = f"message of job {queued.id} dropped"
        wait_until(lambda: line in second.output(), 30, "its message is dropped")

    jobs = Job.objects.filter(id__in=cancelled)
    assert {job.state for job in jobs} == {"cancelled"}
    assert {job.error["reason"] for job in jobs} == {"cancelled"}
    assert all(job.finished_at and job.attempt <= 1 for job in jobs)
    assert project_on.started(pending.id) == project_on.started(queued.id) == 0
    assert sum(words[4] == "1" for words in project_on.history() if words[2] == "start") == 1
