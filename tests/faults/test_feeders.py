"""Feeders that die, stand still and come back, and a long outage: each job is published, and runs once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taskyard.jobs.models import Job
from taskyard.models import Worker
from taskyard.testing.proxy import Proxy
from tests.app import tasks
from tests.conftest import BROKERS
from tests.servers import wait_until
from tests.workers import Project, WorkerProcess, wait_for_state, wait_until_idle

SHORT = {"WORKER_TIMEOUT": {"seconds": 3}, "HEARTBEAT": {"seconds": 0.5}, "REPUBLISH_AFTER": {"seconds": 1}}

DIE_AFTER_THE_COMMIT = """
import os, signal
from tests.app import tasks
print(tasks.note.enqueue(text="committed").id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_caller_killed_right_after_its_commit_has_its_job_run(project: Project) -> None:
    code = f"import django; django.setup()\n{DIE_AFTER_THE_COMMIT}"
    caller = subprocess.run(
        [sys.executable, "-c", code], env=project.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert caller.returncode == -signal.SIGKILL, caller.stderr
    project.start_worker()
    assert wait_for_state(caller.stdout.strip(), "succeeded").attempt == 1


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_feeder_killed_after_publishing_and_before_it_notes_so_starts_nothing_twice(
    project: Project, broker: str, tmp_path: Path
) -> None:
    with BROKERS[broker]() as address:
        project.broker_url, project.taskyard = address, dict(SHORT)
        project.faults = {"feeder.published": str(tmp_path / "killed")}
        feeding = project.start_worker("-Q", "elsewhere", "-c", "1")
        jobs = [tasks.note.enqueue(text=str(number)) for number in range(5)]
        assert feeding.process.wait(30) == -signal.SIGKILL

        # Its messages are out; whoever takes its lease over publishes all of them again.
        project.start_worker("-Q", "elsewhere", "-c", "1")
        again = Job.objects.filter(state="queued", publishes__gt=1)
        wait_until(lambda: again.count() == len(jobs), 40, "all are published twice")
        worker = project.start_worker()
        wait_until_idle(40)
        assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
        assert [project.started(job.id) for job in jobs] == [1] * 5
        wait_until(lambda: "dropped: it is not waiting to be run" in worker.output(), 30, "a duplicate is dropped")
        project.close()


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_feeder_that_stood_still_in_the_middle_of_a_batch_comes_back_to_nothing_left_to_do(
    project: Project, broker: str
) -> None:
    with BROKERS[broker]() as address, Proxy(address) as proxy:
        project.taskyard = dict(SHORT)
        project.broker_url = proxy.url
        stopped = project.start_worker("-Q", "elsewhere", "-c", "1")
        wait_until(lambda: Worker.objects.exists(), 30, "it has registered")
        # It marks its rows, and its messages do not get out: there it stands.
        proxy.freeze()
        jobs = [tasks.note.enqueue(text=str(number)) for number in range(5)]
        wait_until(lambda: Job.objects.filter(state="queued").count() == 5, 30, "it has marked them")
        os.killpg(stopped.pid, signal.SIGSTOP)

        project.broker_url = address
        worker = project.start_worker()
        wait_until_idle(40)
        proxy.heal()
        os.killpg(stopped.pid, signal.SIGCONT)
        wait_until(lambda: Worker.objects.count() == 2, 30, "it registers anew")
        jobs += [tasks.note.enqueue(text=str(number)) for number in range(5)]
        wait_until_idle(40)

        assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
        assert [project.started(job.id) for job in jobs] == [1] * 10
        assert worker.process.poll() is None
        project.close()


#: So many jobs that a feeder that held them all would be seen to.
BACKLOG = 20_000


def _resident_megabytes(worker: WorkerProcess) -> float:
    line = next(line for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) / 1024


@pytest.mark.slow
def test_a_backlog_of_an_outage_drains_with_memory_flat_and_new_urgent_work_before_it(
    project: Project, redis_url: str
) -> None:
    with Proxy(redis_url) as proxy:
        project.broker_url, project.taskyard = proxy.url, {"REPUBLISH_AFTER": {"seconds": 1}}
        worker = project.start_worker()
        wait_for_state(tasks.nothing.enqueue().id, "succeeded")
        proxy.refuse()
        proxy.close_all()
        before = _resident_megabytes(worker)
        assert tasks.nothing.enqueue_many({"n": number} for number in range(BACKLOG)).created == BACKLOG
        wait_until(lambda: "they stay in the table" in worker.output(), 30, "the broker is away")
        during = _resident_megabytes(worker)

        proxy.heal()
        wait_until(lambda: Job.objects.filter(state="succeeded").count() > 100, 60, "it drains")
        urgent = tasks.note.using(priority=9).enqueue(text="urgent")
        wait_for_state(urgent.id, "succeeded", 30)
        assert Job.objects.filter(state="pending").exists()
        highest = max(during, _resident_megabytes(worker))
        assert highest - before < 30
        project.close()
