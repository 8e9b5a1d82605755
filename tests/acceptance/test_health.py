"""Probes of real processes that are stopped, stuck and alone; judged by exit codes."""

import datetime as dt
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from taskyard.jobs.queries import worker_overview
from taskyard.models import Worker
from tests import nursery
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import ROOT, Project

#: A heartbeat that is late after a second, and an agent after two.
SHORT = {"WORKER_TIMEOUT": {"seconds": 1}, "HEARTBEAT": {"seconds": 0.2}}
STALLED = ["--stalled-after", "2s"]


def ask(project: Project, role: str, *words: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    command = ["-m", "taskyard", "health", "--role", role, *STALLED, *words]
    done = nursery.run(command, env=project.environment(), cwd=ROOT, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


def becomes(project: Project, role: str, code: int, says: str) -> None:
    last: list[tuple[int, str]] = []

    def has_become() -> bool:
        last[:] = [ask(project, role)]
        return last[0][0] == code and says in last[0][1]

    wait_until(has_become, 30, f"the probe for {role} ends with {code} and says {says!r}: {last}")


@contextmanager
def scheduler(project: Project) -> Iterator[nursery.Child]:
    with (project.folder / "scheduler.log").open("ab") as log:
        process = nursery.start(["-m", "taskyard", "scheduler"], env=project.environment(), cwd=ROOT, stdout=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_a_worker_that_is_frozen_or_has_a_stuck_feeder_fails_its_probe(project: Project) -> None:
    assert ask(project, "worker")[0] == 1
    project.taskyard, project.faults = dict(SHORT), {"feeder.marked": f"stuck:{project.go}"}
    worker = project.start_worker()
    tasks.nothing.enqueue()
    becomes(project, "worker", 0, "last job begun")

    os.killpg(worker.pid, signal.SIGSTOP)
    becomes(project, "worker", 1, "no heartbeat for")
    os.killpg(worker.pid, signal.SIGCONT)
    becomes(project, "worker", 0, "agents turn")

    # Its heart beats on.
    project.release()
    tasks.nothing.enqueue()
    becomes(project, "worker", 1, "its feeder's thread is stuck")
    assert ask(project, "scheduler")[0] == 1


def test_a_scheduler_alone_has_a_row_that_no_list_of_workers_shows(project: Project) -> None:
    project.taskyard = dict(SHORT)
    with scheduler(project) as process:
        becomes(project, "scheduler", 0, "scheduler scheduler@")
        assert ask(project, "worker")[0] == 1
        assert Worker.objects.get().role == "scheduler"
        assert worker_overview(dt.datetime.now(dt.UTC)) == []
        process.terminate()
        assert process.wait(30) == 0
    assert not Worker.objects.exists()


def test_a_database_that_is_away_is_no_reason_to_start_anything_again(project: Project) -> None:
    gone = {**project.environment(), "TASKYARD_TEST_RUN": "no_such_folder/no_such_database"}
    done = nursery.run(["-m", "taskyard", "health", "--role", "worker"], env=gone, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout[:9]) == (3, "unknown  "), done
