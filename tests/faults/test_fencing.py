"""A worker that stood still while its jobs were given away cannot touch them when it wakes."""

import os
import signal

from taskyard.models import Attempt, Job, Worker
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state


def test_a_stopped_worker_cannot_overwrite_its_successors_result(project_on: Project) -> None:
    project_on.taskyard = {"WORKER_TIMEOUT": {"seconds": 3}, "HEARTBEAT": {"seconds": 0.5}}
    first, later = str(project_on.folder / "first"), str(project_on.folder / "later")
    stopped = project_on.start_worker()
    returning = tasks.which_attempt.enqueue(first=first, later=later)
    checking = tasks.patient.enqueue(path=later)
    for job in (returning, checking):
        wait_for_state(job.id, "running")
    wait_until(lambda: project_on.started(returning.id), 30, "the body runs")

    os.killpg(stopped.pid, signal.SIGSTOP)
    successor = project_on.start_worker()
    for job in (returning, checking):
        wait_until(lambda job=job: _runs_again(job), 40, "the successor runs it")
    os.killpg(stopped.pid, signal.SIGCONT)
    (project_on.folder / "first").touch()
    for job in (returning, checking):
        line = f"attempt 1 of job {job.id} is not ours any more"
        wait_until(lambda line=line: line in stopped.output(), 30, "its end is refused")
    assert {job.state for job in Job.objects.all()} == {"running"}
    assert Job.objects.get(id=returning.id).progress_current is None

    (project_on.folder / "later").touch()
    done = wait_for_state(returning.id, "succeeded")
    assert (done.result, done.attempt, done.progress_current) == (2, 2, 2)
    assert (wait_for_state(checking.id, "succeeded").result, successor.process.poll()) == ("released", None)
    assert set(Attempt.objects.values_list("number", "error_type")) == {(1, "WorkerLost")}

    # It is a worker among others again.
    wait_until(lambda: Worker.objects.count() == 2, 30, "it registers anew")
    assert successor.stop() == 0
    wait_for_state(tasks.note.enqueue(text="for the one that was stopped").id, "succeeded")


def _runs_again(job: Job) -> bool:
    return Job.objects.filter(id=job.id, state="running", attempt=2).exists()
