"""What happens to workers and their children beside being killed: no memory, no end, no slot, no luck."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from taskyard.models import Attempt, Job, Worker
from taskyard.testing.processes import process
from tests.app import tasks
from tests.app.models import Note
from tests.servers import wait_until
from tests.servers.process import free_port
from tests.workers import Project, wait_for_state, wait_until_idle

SHORT = {"WORKER_TIMEOUT": {"seconds": 3}, "HEARTBEAT": {"seconds": 0.5}, "REPUBLISH_AFTER": {"seconds": 1}}
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A group of processes that have 600 MB together; the kernel kills one of them when they need more."""
    group = MEMORY_GROUPS / f"taskyard-{os.getpid()}-{free_port()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(600 * 1024 * 1024))
    except OSError as error:
        pytest.skip(f"no memory group can be made here: {error}")
    with suppress(OSError):
        (group / "memory.memsw.limit_in_bytes").write_text(str(600 * 1024 * 1024))
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text().split(), 20, "the group is empty")
    group.rmdir()


def test_a_job_that_the_kernel_kills_for_its_memory_is_quarantined_with_that_as_its_reason(
    project: Project, memory_group: Path
) -> None:
    worker = project.start_worker("-c", "2")
    for pid in (worker.pid, *(child.pid for child in process(worker.pid).children)):
        (memory_group / "cgroup.procs").write_text(str(pid))

    greedy = tasks.allocate.enqueue(megabytes=2000)
    modest = [tasks.note.enqueue(text=str(number)) for number in range(5)]
    for job in modest:
        assert wait_for_state(job.id, "succeeded").attempt == 1
    quarantined = wait_for_state(greedy.id, "failed", timeout=60)
    assert quarantined.error["reason"] == "poison"
    assert "killed by signal 9, likely out of memory" in quarantined.error["message"]
    assert Attempt.objects.filter(job=quarantined.id).count() == 3
    assert worker.process.poll() is None
    project.close()


def test_short_jobs_do_not_wait_behind_a_long_one_while_another_worker_is_idle(project_on: Project) -> None:
    project_on.start_worker("-c", "1")
    project_on.start_worker("-c", "1")
    long = tasks.hold.enqueue(path=project_on.go)
    wait_for_state(long.id, "running")
    for number in range(6):
        wait_for_state(tasks.note.enqueue(text=str(number)).id, "succeeded")
    assert Job.objects.get(id=long.id).state == "running"


def test_a_job_that_hangs_in_c_code_is_ended_by_its_time_limit(project: Project) -> None:
    worker = project.start_worker("-c", "1")
    # It holds the interpreter's lock: no code of its process runs any more.
    hanging = tasks.hangs_in_c.enqueue()
    assert wait_for_state(hanging.id, "failed", timeout=60).error["reason"] == "time-limit"
    wait_for_state(tasks.note.enqueue(text="the slot works again").id, "succeeded")
    assert worker.process.poll() is None


def test_a_child_that_grows_is_replaced_between_two_jobs_and_no_job_is_lost(project: Project) -> None:
    project.celery = {"WORKER_MAX_MEMORY_PER_CHILD": 200_000}
    worker = project.start_worker("-c", "1")
    jobs = [tasks.leaks.enqueue(megabytes=60) for _ in range(8)]
    wait_until_idle(60)
    pids = {wait_for_state(job.id, "succeeded").result for job in jobs}
    assert 1 < len(pids) < len(jobs)
    assert set(Job.objects.values_list("attempt", "crashes")) == {(1, 0)}
    assert worker.process.poll() is None


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_jobs_of_a_threads_worker_that_is_gone_or_stands_still_run_again_and_end_once(
    project: Project, redis_url: str, blow: signal.Signals
) -> None:
    project.broker_url, project.taskyard = redis_url, dict(SHORT)
    struck = project.start_worker("-P", "threads", "-c", "2")
    jobs = [tasks.hold.enqueue(path=project.go) for _ in range(2)]
    wait_until(lambda: all(project.started(job.id) for job in jobs), 30, "both run")
    os.kill(struck.pid, blow)
    project.start_worker("-P", "threads", "-c", "2")
    wait_until(lambda: all(project.started(job.id) == 2 for job in jobs), 40, "both run again")
    project.release()
    wait_until_idle(30)
    if blow == signal.SIGSTOP:
        os.kill(struck.pid, signal.SIGCONT)
        wait_until(lambda: struck.output().count("is not ours any more") >= 2, 30, "its ends are refused")
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 2)}
    assert set(Attempt.objects.values_list("number", "error_type")) == {(1, "WorkerLost")}
    wait_until(lambda: Worker.objects.count() == (2 if blow == signal.SIGSTOP else 1), 30, "who lives is registered")


@pytest.mark.slow
def test_a_deploy_that_interrupts_commits_leaves_no_effect_without_its_job_and_no_job_without_its_effect(
    project: Project,
) -> None:
    project.taskyard = {"SHUTDOWN_GRACE": {"seconds": 0}, **SHORT}
    jobs = [tasks.commits_with_a_follower.enqueue(text=f"commit {number}") for number in range(30)]
    done = Job.objects.filter(task="app.commits_with_a_follower", state="succeeded")
    for wanted in (3, 14):
        worker = project.start_worker("-c", "2")
        wait_until(lambda wanted=wanted: done.count() >= wanted, 40, "some have ended")
        # A cold shutdown: what its children are in the middle of ends there.
        worker.process.send_signal(signal.SIGQUIT)
        worker.process.wait(30)
    project.start_worker("-c", "2")
    wait_until_idle(60)

    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    # An attempt whose commit was done and whose end was not ran again, with a note and a follower of its own.
    written = sorted(Note.objects.filter(text__startswith="commit").values_list("text", flat=True))
    followers = sorted(" ".join(words[3:]) for words in project.history() if words[2] == "follows")
    assert Job.objects.filter(task="app.follows").count() == len(written)
    assert set(written) == set(followers) == {f"commit {number}" for number in range(len(jobs))}


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGTERM])
def test_a_worker_whose_pool_never_comes_to_an_end_leaves_without_it_and_gives_its_jobs_back(
    project: Project, how: signal.Signals
) -> None:
    project.taskyard = {"SHUTDOWN_GRACE": {"seconds": 0}, **SHORT}
    # As billiard's does that waits for the rest of an answer whose writer was killed.
    worker = project.start_worker("-c", "1", TASKYARD_TEST_HANGS="1")
    release = project.folder / "release"
    job = tasks.hold.enqueue(path=str(release))
    wait_for_state(job.id, "running")
    worker.process.send_signal(how)
    # Two seconds for the child, ten for Celery.
    assert worker.process.wait(40) == 1
    assert "leaving. It stands at" in worker.output()
    assert not Worker.objects.exists()
    assert Job.objects.get(id=job.id).state != "running"

    release.touch()
    project.start_worker("-c", "1")
    done = wait_for_state(job.id, "succeeded")
    assert done.max_attempts - done.attempt == job.max_attempts - 1
