"""Behind PgBouncer in transaction mode: everything but notifications, which agents do without."""

import datetime as dt
import os
import threading
import time
from collections.abc import Iterator

import pytest
from celery import chord
from django.db import connection, connections

from taskyard.jobs.models import Job
from taskyard.runtime.wakeup import WORK_WRITTEN, Listener, wake
from tests import servers
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="PgBouncer stands before PostgreSQL")


@pytest.fixture
def bouncer(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a bouncer before the test database."""
    here = connection.settings_dict
    user = f"{here['USER']}:{here['PASSWORD']}" if here["PASSWORD"] else here["USER"]
    address = f"postgresql://{user}@{here['HOST']}:{here['PORT'] or 5432}/{here['NAME']}"
    with servers.pgbouncer(address) as server:
        monkeypatch.setenv("TASKYARD_TEST_DB_PORT", str(server.port))
        yield server.port


@pytest.fixture
def behind(bouncer: int, project_on: Project) -> Project:
    """The project with its processes' database at the bouncer."""
    return project_on


def test_jobs_retries_canvas_and_progress_work_behind_a_pooler(behind: Project) -> None:
    worker = behind.start_worker("-c", "2")
    said = behind.run_python(
        "from django.db import connection, transaction\n"
        "from tests.app import tasks\n"
        "assert connection.settings_dict['DISABLE_SERVER_SIDE_CURSORS']\n"
        "with transaction.atomic(): job = tasks.note.enqueue(text='x')\n"
        "print(connection.settings_dict['PORT'], job.id)"
    )
    port, job_id = said.split()[-2:]
    assert port == os.environ["TASKYARD_TEST_DB_PORT"]
    simple = wait_for_state(job_id, "succeeded", 60)
    assert simple.result == {"success": True, "text": "x"}

    retried = tasks.flaky.enqueue(succeed_at=3)
    slow = tasks.batch.enqueue(items=list(range(30)), path=behind.go)
    unique = tasks.once.enqueue(key="k", path=behind.go)
    assert not tasks.once.enqueue(key="k").created
    later = tasks.nothing.using(run_after=dt.timedelta(seconds=1)).enqueue(n=1)
    body = chord([tasks.add.s(n, 1) for n in range(5)])(tasks.total.s())
    wait_for_state(slow.id, "running", 60)
    wait_until(lambda: Job.objects.get(id=slow.id).progress_total == 30, 60, "progress is seen while the job runs")
    behind.release()
    wait_until_idle()

    assert wait_for_state(retried.id, "succeeded").attempt == 3
    assert wait_for_state(slow.id, "succeeded").counts["failed"] == 3
    assert wait_for_state(unique.id, "succeeded").attempt == 1
    assert wait_for_state(later.id, "succeeded").attempt == 1
    assert wait_for_state(body.id, "succeeded").result == 15
    assert behind.overlaps() == []
    assert "Traceback" not in worker.output()
    # An idle queue's next job is found by polling.
    began = time.monotonic()
    last = tasks.note.enqueue(text="last")
    wait_for_state(last.id, "succeeded", 60)
    assert time.monotonic() - began < 10
    assert worker.stop() == 0


def test_a_killed_worker_behind_a_pooler_loses_no_job(bouncer: int, project: Project) -> None:
    project.taskyard = {"WORKER_TIMEOUT": {"seconds": 3}, "HEARTBEAT": {"seconds": 0.5}}
    first = project.start_worker("-c", "1")
    job = tasks.hold.enqueue(path=project.go)
    wait_for_state(job.id, "running")
    first.kill_group()
    project.release()
    project.start_worker("-c", "1")
    assert wait_for_state(job.id, "succeeded", 60).attempt == 2
    assert project.overlaps() == []


def test_a_listener_behind_a_pooler_knows_that_it_is_deaf(bouncer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # This thread's connection stays where it is: it outlives the bouncer.
    connection.ensure_connection()
    monkeypatch.setitem(connections["default"].settings_dict, "PORT", str(bouncer))
    deaf: list[bool] = []
    stop = threading.Event()

    def listen() -> None:
        listener = Listener(WORK_WRITTEN)
        listener.wait(0.1, stop)
        deaf.append(listener.is_deaf)
        # A wake-up within the process arrives all the same.
        listener.wait(60, stop)
        listener.close()
        connections.close_all()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    wait_until(lambda: deaf, 30, "the listener has probed")
    assert deaf == [True]
    wake(WORK_WRITTEN)
    thread.join(30)
    assert not thread.is_alive()
