"""What an operator does, met by real workers: one is asked to stop, many jobs are brought back by a job and aborted."""

from taskyard.models import AuditEntry, Job
from tests import nursery
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import ROOT, Project, wait_for_state


def taskyard(project: Project, *words: str) -> str:
    """What a command says."""
    done = nursery.run(["-m", "taskyard", *words], env=project.environment(), cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_worker_that_is_asked_to_stop_finishes_what_runs(project: Project) -> None:
    stays, goes = project.start_worker("-c", "1"), project.start_worker("-c", "1")
    held = [tasks.hold.enqueue(path=project.go) for _ in range(2)]
    for job in held:
        wait_for_state(job.id, "running")
    name = f"w1-{project.folder.name}"
    [full_name] = [line.split()[0] for line in taskyard(project, "workers", "list").splitlines() if name in line]
    said = taskyard(project, "workers", "stop", full_name, "--reason", "new kernel")
    assert "1 of 1 slots are busy" in said
    wait_until(lambda: "stopping" in taskyard(project, "workers", "list"), 30, "it has heard")
    assert goes.process.poll() is None
    project.release()
    assert goes.process.wait(30) == 0
    assert stays.process.poll() is None
    for job in held:
        assert wait_for_state(job.id, "succeeded").attempt == 1
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.target, entry.reason, entry.via) == ("stop", full_name, "new kernel", "cli")


def test_many_are_brought_back_by_a_job_at_a_rate_until_it_is_cancelled(project: Project) -> None:
    for n in range(100):
        tasks.nothing.using(queue_name="nobody").enqueue(n=n)
    ended = Job.objects.latest("created_at").created_at
    Job.objects.update(state="failed", finished_at=ended, attempt=1)
    project.start_worker("-c", "1")
    said = taskyard(project, "jobs", "retry", "--state", "failed", "--rate", "5", "--background")
    [job_id] = [word for word in said.replace(":", "").split() if word.count("-") == 4][:1]
    wait_for_state(job_id, "running")
    wait_until(lambda: AuditEntry.objects.get(verb="retry").count >= 5, 30, "the first of them")
    taskyard(project, "jobs", "cancel", job_id)
    wait_for_state(job_id, "cancelled")
    entry = AuditEntry.objects.get(verb="retry")
    assert entry.after["ended"] == "aborted"
    assert 5 <= entry.count < 100
    assert Job.objects.filter(state="failed").count() == 100 - entry.count
