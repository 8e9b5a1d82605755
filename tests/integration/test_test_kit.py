"""The test kit's own promises: what it kills is dead, what it writes down is what happened."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import DatabaseError, connection

from taskyard.jobs.current import entered
from taskyard.jobs.running import RunningJob
from taskyard.models import Job
from taskyard.testing import faults
from taskyard.testing.history import History, read
from taskyard.testing.processes import Process, kill_all, process, stopped
from taskyard.testing.table import read_table
from tests.app import tasks
from tests.servers import wait_until

PARENT = "import os, time; os.fork(); os.write(1, b'ready\\n'); time.sleep(60)"


@pytest.fixture
def parent() -> Iterator[Process]:
    """A process with one child."""
    started = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PARENT], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with started:
        assert started.stdout is not None
        assert [started.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        found = process(started.pid)
        family = found.family
        yield found
        kill_all(family)


def test_a_family_is_found_stopped_resumed_and_killed(parent: Process) -> None:
    child, *more = parent.children
    assert (parent.family, more) == ((parent, child), [])
    with stopped(parent.family):
        wait_until(lambda: parent.is_stopped and child.is_stopped, 10, "both stand still")
    wait_until(lambda: not parent.is_stopped and not child.is_stopped, 10, "both go on")
    kill_all((parent, child))
    wait_until(lambda: not parent.is_alive and not child.is_alive, 10, "both are dead")
    assert (parent.kill(), parent.children) == (False, ())


def test_a_signal_does_not_reach_another_process_that_got_the_same_id(parent: Process) -> None:
    assert parent.started is not None
    earlier = Process(parent.pid, parent.started - 1)
    assert (earlier.is_alive, earlier.kill()) == (False, False)
    assert parent.is_alive


def test_a_fault_point_strikes_once_and_only_while_it_is_armed(tmp_path: Path) -> None:
    from taskyard.runtime.faults import fault_point

    with faults.armed("job.claimed", faults.raising(tmp_path / "mark", OSError("as asked"))):
        with pytest.raises(OSError, match="as asked"):
            fault_point("job.claimed")
        fault_point("job.claimed")
    (tmp_path / "mark").unlink()
    fault_point("job.claimed")
    with pytest.raises(KeyError), faults.armed("no.such.point", lambda: None):
        pass


def test_a_killing_fault_writes_down_what_dies_and_kills_it(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            note = tmp_path / "note"
            faults.killing(tmp_path / "mark", before=lambda: note.write_text(str(os.getpid())) and None)()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    assert (tmp_path / "note").read_text() == str(pid)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


def told(history: History) -> list[tuple[str, list[str]]]:
    return [(line.what, line.more["jobs"]) for line in read(history.path)]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_is_written_down_as_what_became_of_it(history: History) -> None:
    with history.transaction() as ids:
        ids.append(tasks.nothing.enqueue(n=1).id)
    assert told(history) == [("intended", [str(ids[0])]), ("committed", [str(ids[0])])]
    assert [row.id for row in read_table()] == [str(ids[0])]

    with pytest.raises(ZeroDivisionError), history.transaction() as undone:
        undone.append(tasks.nothing.enqueue(n=2).id)
        raise ZeroDivisionError
    assert told(history)[2:] == [("rolled back", [str(undone[0])])]
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_commit_that_fails_is_neither_committed_nor_rolled_back(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise DatabaseError("the server is gone")

    with pytest.raises(DatabaseError), history.transaction() as ids:
        ids.append(tasks.nothing.enqueue(n=1).id)
        monkeypatch.setattr(connection, "_commit", fail)
    assert told(history) == [("intended", [str(ids[0])])]


def test_an_attempt_says_how_it_ended(history: History) -> None:
    job = RunningJob(Job().id, "app.some", token=7, attempt=2)
    with entered(job):
        with history.attempt(unique="key"):
            history.effect("link", [1])
        with pytest.raises(ZeroDivisionError), history.attempt():
            raise ZeroDivisionError
    start, effect, end, _, bad = read(history.path)
    assert (start.what, start.job, start.attempt, start.token) == ("start", str(job.id), 2, 7)
    assert (start.more, effect.more) == ({"task": "app.some", "unique": "key"}, {"key": "link", "value": [1]})
    assert (end.what, end.more["how"], bad.more["how"]) == ("end", "returned", "ZeroDivisionError")
    assert start.pid == os.getpid() and start.at <= effect.at <= end.at
