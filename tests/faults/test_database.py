"""What happens to the database: ended connections, restarts, conflicts; no job is lost, none ends twice."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chord
from django.db import DatabaseError, connection

from taskyard.models import Job
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="breaks PostgreSQL")

SHORT: dict[str, Any] = {"HEARTBEAT": {"seconds": 0.5}, "REPUBLISH_AFTER": {"seconds": 1}}


def _end_every_connection_but_ours() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def test_a_worker_whose_database_connections_are_ended_again_and_again_runs_each_job_once(project_on: Project) -> None:
    project_on.taskyard = dict(SHORT)
    worker = project_on.start_worker()
    running = tasks.hold.enqueue(path=project_on.go)
    wait_for_state(running.id, "running")
    jobs = [tasks.hold.enqueue(path="/") for _ in range(40)]
    done, ended = Job.objects.filter(state="succeeded"), 0
    for wanted in (1, 12, 24, 36):
        wait_until(lambda wanted=wanted: done.count() >= wanted, 40, f"{wanted} have ended")
        ended += _end_every_connection_but_ours()
    assert ended > 10
    project_on.release()
    wait_until_idle(60)
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert [project_on.started(job.id) for job in [running, *jobs]] == [1] * 41
    assert worker.process.poll() is None


def test_what_ends_while_the_database_is_away_is_written_when_it_is_back(project: Project, own_server: Any) -> None:
    project.taskyard = {**SHORT, "WORKER_TIMEOUT": {"seconds": 3}}
    worker = project.start_worker()
    jobs = [tasks.hold.enqueue(path=project.go) for _ in range(2)]
    wait_until(lambda: all(project.started(job.id) for job in jobs), 30, "both run")
    more = [tasks.note.enqueue(text=str(number)) for number in range(4)]

    own_server.kill()
    connection.close()
    project.release()
    ended = lambda: sum(words[2] == "end" for words in project.history())  # noqa: E731
    wait_until(lambda: ended() == 2, 20, "the bodies end")
    # Nobody's heartbeat was written for longer than a worker may be silent: that is no reason to take it for lost.
    wait_until(lambda: "waits for the database" in worker.output(), 20, "their ends are waiting")
    own_server.start()

    wait_until_idle(60)
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert [project.started(job.id) for job in [*jobs, *more]] == [1] * 6
    assert worker.process.poll() is None


@pytest.mark.parametrize("own_server", [150_000_000], indirect=True)
def test_a_full_disk_refuses_new_jobs_and_loses_none_and_ends_are_written_when_there_is_room(
    project: Project, own_server: Any
) -> None:
    project.taskyard = dict(SHORT)
    worker = project.start_worker()
    jobs = [tasks.hold.enqueue(path=project.go) for _ in range(2)]
    wait_until(lambda: all(project.started(job.id) for job in jobs), 30, "both run")

    own_server.fill_disk()
    refused = 0
    # What still fits into the files there are is taken, and then it is no more.
    while not refused and len(jobs) < 5000:
        try:
            jobs += [tasks.hold.using(run_after=dt.timedelta(hours=1)).enqueue(path="x" * 50_000)]
        except DatabaseError:
            refused += 1
    assert refused
    connection.close()
    project.release()
    own_server.empty_disk()
    if not own_server.is_running:
        # It could not write its log any more, and ended.
        own_server.start()
    for job in jobs[:2]:
        wait_for_state(job.id, "succeeded", 60)
    assert set(Job.objects.values_list("id", flat=True)) == {job.id for job in jobs}
    assert [project.started(job.id) for job in jobs[:2]] == [1, 1]
    assert worker.process.poll() is None


@pytest.fixture
def serializable() -> Iterator[None]:
    """Transactions of new connections end in serialization failures where others would wait."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
        yield
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_isolation")


def test_serialization_failures_are_retried_until_every_end_is_written(project: Project, serializable: None) -> None:
    worker = project.start_worker("-c", "4")
    results = [chord([tasks.add.s(n, n) for n in range(8)])(tasks.total.s()) for _ in range(4)]
    wait_until_idle(60)
    assert [wait_for_state(result.id, "succeeded").result for result in results] == [56] * 4
    assert set(Job.objects.values_list("state", "attempt")) == {("succeeded", 1)}
    assert Job.objects.count() == 36
    assert "could not serialize access" in worker.output()
