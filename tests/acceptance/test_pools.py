"""The three pools: the right job in the right place, connections kept while they are healthy, children that die."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from taskyard.jobs.models import Job
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

POSTGRES = pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL for its backends")

#: How jobs of each pool run at once, and how many.
POOLS = {"prefork": 2, "threads": 2, "solo": 1}


def run_one(**values: Any) -> dict[str, Any]:
    """The answer of a job that has run by itself."""
    answer = wait_for_state(tasks.who.enqueue(**values).id, "succeeded", 60).result
    assert isinstance(answer, dict)
    return answer


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.mark.parametrize("pool", POOLS)
def test_jobs_that_run_at_once_each_see_themselves(project: Project, pool: str) -> None:
    at_once = POOLS[pool]
    worker = project.start_worker("-P", pool, "-c", "2")
    jobs = [tasks.who.enqueue(path=project.go) for _ in range(at_once)]
    for job in jobs:
        wait_for_state(job.id, "running")
    wait_until(lambda: len(project.history()) == at_once, 30, "all have begun")
    project.release()
    jobs += [tasks.who.enqueue() for _ in range(6)]
    wait_until_idle()

    answers = {job.id: wait_for_state(job.id, "succeeded").result for job in jobs}
    assert all(answer["job"] == answer["later"] == str(job_id) for job_id, answer in answers.items())
    first = [answers[job.id] for job in jobs[:at_once]]
    if pool == "prefork":
        assert all(answer["parent"] == worker.pid for answer in answers.values())
        assert len({answer["pid"] for answer in first}) == 2
    else:
        assert {answer["pid"] for answer in answers.values()} == {worker.pid}
    if connection.vendor == "postgresql":
        # A connection for each slot, and not for each job.
        assert len({answer["backend"] for answer in answers.values()}) <= (2 if pool != "solo" else 1)
    assert project.overlaps() == []
    assert worker.stop() == 0


@POSTGRES
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_connection_is_kept_and_a_stale_one_never_reaches_a_task(project: Project, pool: str) -> None:
    worker = project.start_worker("-P", pool, "-c", "1")
    one, two = run_one(), run_one()
    assert one["backend"] == two["backend"]

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [one["backend"]])
    answer = run_one()

    assert answer["backend"] != one["backend"]
    assert answer["pid"] == one["pid"]
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert worker.process.poll() is None


@POSTGRES
def test_connections_are_closed_after_each_job_where_that_is_asked_for(project: Project) -> None:
    project.taskyard = {"CLOSE_CONNECTIONS": True}
    project.start_worker("-c", "1")
    one, two = run_one(), run_one()
    assert one["pid"] == two["pid"]
    assert one["backend"] != two["backend"]


def test_a_child_may_be_replaced_after_each_job(project: Project) -> None:
    project.celery = {"WORKER_MAX_TASKS_PER_CHILD": 1}
    worker = project.start_worker("-c", "2")
    jobs = [tasks.who.enqueue() for _ in range(6)]
    wait_until_idle()

    answers = [wait_for_state(job.id, "succeeded").result for job in jobs]
    assert len({answer["pid"] for answer in answers}) == 6
    assert set(Job.objects.values_list("attempt", "crashes")) == {(1, 0)}
    assert worker.process.poll() is None


def test_children_do_not_outlive_their_parent(project: Project) -> None:
    worker = project.start_worker("-c", "2")
    jobs = [tasks.hold.enqueue(path=project.go) for _ in range(2)]
    for job in jobs:
        wait_for_state(job.id, "running")
    wait_until(lambda: len(project.history()) == 2, 30, "both have begun")
    children = {int(words[1]) for words in project.history()}
    assert len(children) == 2
    assert all(is_alive(pid) for pid in children)

    worker.kill_main()

    wait_until(lambda: not any(is_alive(pid) for pid in children), 30, "the children are gone")


def test_a_replaced_child_does_not_outlive_its_parent_either(project: Project) -> None:
    worker = project.start_worker("-c", "1")
    first = run_one()["pid"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(first), 30, "the first child is gone")
    job = tasks.hold.enqueue(path=project.go)
    wait_for_state(job.id, "running")
    wait_until(lambda: any(words[2:4] == ["start", str(job.id)] for words in project.history()), 30, "it has begun")
    child = next(int(words[1]) for words in project.history() if words[2:4] == ["start", str(job.id)])
    assert child != first

    worker.kill_main()

    wait_until(lambda: not is_alive(child), 30, "the replaced child is gone")
