"""`kill -9` wherever a member ends and wherever a teller counts: the count is exact, what follows comes once."""

import signal
from pathlib import Path

import pytest
from django.utils import timezone

from taskyard import Batch
from taskyard.batches.models import BatchTally
from taskyard.batches.teller import Teller
from taskyard.execution.claim import claim, new_token
from taskyard.execution.outcome import Succeeded
from taskyard.execution.settle import settle
from taskyard.models import Job
from tests import nursery
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import ROOT, Project, wait_until_idle

#: Where an attempt dies.
POINTS = ("settle.begin", "settle.moved", "settle.written", "settle.done")

FOLLOWERS = {f"on_{word}": (tasks.note, {"text": word}) for word in ("success", "failure", "complete")}

ONE_TURN = """
import django; django.setup()
from django.utils import timezone
from taskyard.batches.teller import Teller
Teller().run_once(timezone.now())
"""


def followers() -> list[str]:
    return sorted(job.kwargs["text"] for job in Job.objects.filter(task="app.note"))


def test_members_that_die_at_every_point_are_counted_once(project: Project, tmp_path: Path) -> None:
    marks = {point: tmp_path / point for point in POINTS}
    for mark in marks.values():
        mark.touch()
    project.faults = {point: str(mark) for point, mark in marks.items()}
    project.start_worker()
    with Batch.open("through faults", **FOLLOWERS) as batch:  # type: ignore[arg-type]
        batch.enqueue(tasks.hold, path=project.go)
    for point, mark in marks.items():
        mark.unlink()
        # An end that failed is a transaction, one that did not is a single statement.
        ids = [batch.enqueue(task).id for task in (tasks.nothing, tasks.fails_for_good)]
        wait_until(mark.exists, 30, f"a child died at {point}")
        # Its end is written by the main process, which must not meet the next point.
        wait_until(lambda ids=ids: Job.objects.filter(id__in=ids).final().count() == 2, 30, "both have ended")
    project.release()

    def has_ended() -> bool:
        batch.refresh_from_db()
        return batch.state == "completed"

    wait_until(has_ended, 30, "the batch has ended")
    wait_until_idle(30)
    each = len(POINTS)
    assert (batch.total, batch.succeeded, batch.failed, batch.cancelled) == (1 + 2 * each, 1 + each, each, 0)
    assert followers() == ["complete", "failure"]
    assert not BatchTally.objects.exists()


@pytest.mark.parametrize("point", ["tally.taken", "tally.written", "tally.done"])
def test_a_teller_that_is_killed_neither_loses_nor_doubles(project: Project, tmp_path: Path, point: str) -> None:
    project.faults = {point: str(tmp_path / "killed")}
    with Batch.open("through faults", **FOLLOWERS) as batch:  # type: ignore[arg-type]
        batch.enqueue_many(tasks.nothing, ({"n": n} for n in range(3)))
    for job in Job.objects.all():
        Job.objects.filter(id=job.id).update(state="queued")
        owned = claim(job.id, new_token(), job.id, timezone.now())
        assert owned is not None
        settle(owned, Succeeded(), timezone.now())

    done = nursery.run(["-c", ONE_TURN], env=project.environment(), cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr

    Teller().run_once(timezone.now())
    batch.refresh_from_db()
    assert (batch.state, batch.total, batch.succeeded) == ("completed", 3, 3)
    assert followers() == ["complete", "success"]
    assert not BatchTally.objects.exists()
