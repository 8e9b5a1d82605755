"""`kill -9` of anything: each job ends once, no two attempts of it run at the same time."""

import os
import signal
import time
from pathlib import Path

import pytest

from taskyard.models import Attempt, Job, Worker
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, WorkerProcess, wait_for_state, wait_until_idle

#: So that a test waits for seconds where a user waits for half a minute.
SHORT = {"WORKER_TIMEOUT": {"seconds": 3}, "HEARTBEAT": {"seconds": 0.5}, "REPUBLISH_AFTER": {"seconds": 1}}


def _children(worker: WorkerProcess) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _runs(project: Project, pids: set[int]) -> set[str]:
    """Jobs that started in these processes."""
    return {words[3] for words in project.history() if words[2] == "start" and int(words[1]) in pids}


def _kill_a_main_a_group_and_a_child(project: Project) -> tuple[set[str], set[int]]:
    """Three workers with two running jobs each lose what the name says; the jobs that lost their process, and the
    processes that are gone."""
    survivor, orphaning, whole = (project.start_worker() for _ in range(3))
    jobs = [tasks.hold.enqueue(path=project.go) for _ in range(6)]
    wait_until(lambda: all(project.started(job.id) for job in jobs), 60, "six jobs run")

    orphans, group = set(_children(orphaning)), set(_children(whole))
    child = next(pid for pid in _children(survivor) if _runs(project, {pid}))
    gone = orphans | group | {child}
    lost = _runs(project, gone)
    orphaning.kill_main()
    whole.kill_group()
    os.kill(child, signal.SIGKILL)
    # Long before anybody takes the worker for lost.
    wait_until(lambda: not any(map(_is_running, gone)), 2, "no child outlives its parent")
    assert len(lost) == 5
    return lost, gone


def _assert_each_ended_once(project: Project, lost: set[str], gone: set[int]) -> None:
    assert project.overlaps() == []
    ends = [words[3] for words in project.history() if words[2] == "end"]
    assert sorted(ends) == sorted(str(job_id) for job_id in Job.objects.values_list("id", flat=True))
    assert not [words for words in project.history() if words[2] == "end" and int(words[1]) in gone]
    for job in Job.objects.all():
        rescued = str(job.id) in lost
        assert (job.state, job.result, job.attempt) == ("succeeded", "released", 2 if rescued else 1)
    # A lost worker or child spends none of the allowed attempts.
    assert {attempt.error_type for attempt in Attempt.objects.all()} == {"WorkerLost"}
    assert {str(job.id) for job in Job.objects.filter(max_attempts=2)} == lost


def test_killed_mains_groups_and_children_lose_no_job_and_run_none_twice_at_once(project_on: Project) -> None:
    project_on.taskyard = SHORT
    lost, gone = _kill_a_main_a_group_and_a_child(project_on)
    project_on.release()
    wait_until_idle(40)
    _assert_each_ended_once(project_on, lost, gone)


@pytest.mark.slow
def test_with_default_settings_recovery_takes_less_than_thirty_seconds(project_on: Project) -> None:
    lost, gone = _kill_a_main_a_group_and_a_child(project_on)
    killed_at = time.monotonic()
    project_on.release()
    wait_until_idle(60)
    assert time.monotonic() - killed_at < 30
    _assert_each_ended_once(project_on, lost, gone)


def test_a_feeder_killed_between_commit_and_publish_loses_nothing(project_on: Project, tmp_path: Path) -> None:
    project_on.taskyard = SHORT
    project_on.faults = {"feeder.marked": str(tmp_path / "killed")}
    feeding = project_on.start_worker()
    jobs = [tasks.note.enqueue(text=str(number)) for number in range(5)]

    assert feeding.process.wait(30) == -signal.SIGKILL
    assert Job.objects.filter(state="queued", publishes=1, attempt=0).exists()
    assert project_on.history() == []

    project_on.start_worker()
    wait_until_idle(40)
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert [project_on.started(job.id) for job in jobs] == [1] * 5


def test_queued_jobs_in_the_hands_of_a_killed_worker_are_freed(project: Project) -> None:
    project.taskyard = SHORT
    # On the database broker a queued row in hand is nobody else's; four for each slot are taken ahead.
    project.celery = {"WORKER_PREFETCH_MULTIPLIER": 4}
    killed = project.start_worker("-c", "1")
    running = tasks.hold.enqueue(path=project.go)
    wait_for_state(running.id, "running")
    ahead = tasks.note.enqueue(text="taken ahead")
    wait_until(lambda: Job.objects.filter(id=ahead.id, worker__isnull=False).exists(), 30, "it is in hand")
    assert Job.objects.get(id=ahead.id).state == "queued"

    killed.kill_group()
    project.release()
    project.start_worker("-c", "1")
    wait_until_idle(40)

    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    assert (Job.objects.get(id=ahead.id).attempt, project.started(ahead.id)) == (1, 1)
    wait_until(lambda: Worker.objects.count() == 1, 30, "the lost worker's row is gone")
