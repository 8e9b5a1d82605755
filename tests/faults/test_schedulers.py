"""Schedulers that are killed, frozen and cut off: each due time is decided once, and none is lost."""

import datetime as dt
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import F, Max
from django.utils import timezone

from taskyard.jobs.models import Job
from taskyard.schedules import Every, Occurrence, Schedule
from tests import nursery
from tests.app.tasks import nothing
from tests.servers import wait_until
from tests.workers import Project

ROOT = Path(__file__).resolve().parents[2]
SECOND = dt.timedelta(seconds=1)
#: ``make verify`` asks for 200 schedules and 40 rounds: two minutes.
SCHEDULES = int(os.environ.get("TASKYARD_TEST_SCHEDULES", "40"))
ROUNDS = int(os.environ.get("TASKYARD_TEST_SCHEDULE_ROUNDS", "1"))

#: Longest that schedules may stand still when whoever decides them is gone, a restart of the database included.
FAIL_OVER = dt.timedelta(seconds=10)


class Schedulers:
    """Three of them, as ``taskyard scheduler`` starts each."""

    def __init__(self, project: Project) -> None:
        self.environment, self.log = project.environment(), project.folder / "schedulers.log"
        self.processes = [self.start() for _ in range(3)]

    def start(self) -> Any:
        with self.log.open("ab") as log:
            return nursery.start(["-m", "taskyard", "scheduler"], env=self.environment, cwd=ROOT, stdout=log)

    def kill(self) -> None:
        """One of them, and start another in its place."""
        victim = self.processes.pop(0)
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait(30)
        self.processes.append(self.start())

    def freeze(self) -> None:
        os.killpg(self.processes[0].pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.killpg(self.processes[0].pid, signal.SIGCONT)

    def close(self) -> None:
        for process in self.processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@pytest.fixture
def schedulers(project: Project) -> Iterator[Schedulers]:
    made = Schedulers(project)
    try:
        yield made
    finally:
        made.close()


def decided_for(seconds: float) -> None:
    """Until due times up to so long from now are decided."""
    until = timezone.now() + dt.timedelta(seconds=seconds)
    wait_until(lambda: behind() >= until, seconds + 30, "all schedules are decided up to then")


def behind() -> dt.datetime:
    return min(
        Occurrence.objects.values("schedule").annotate(last=Max("due_at")).values_list("last", flat=True),
        default=dt.datetime.min.replace(tzinfo=dt.UTC),
    )


@pytest.fixture
def restart_database(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Stop the database under everybody and start it again; where it is a file there is nothing to restart."""
    if connection.vendor != "postgresql":
        return lambda: None
    server = request.getfixturevalue("own_server")

    def restart() -> None:
        server.stop()
        server.start()
        connection.close()

    return restart


@pytest.mark.timeout(1200 if ROUNDS > 1 else 120)
def test_each_due_time_is_decided_once_whoever_dies_stands_still_or_is_cut_off(
    restart_database: Callable[[], None], schedulers: Schedulers
) -> None:
    for number in range(SCHEDULES):
        Schedule.objects.define(name=f"tick {number}", recurrence=Every(SECOND), task=nothing, overlap="allow")
    began = timezone.now()
    wait_until(lambda: Occurrence.objects.count() > SCHEDULES, 40, "they have begun")
    for number in range(ROUNDS):
        schedulers.freeze()
        decided_for(1)
        if number % 10 == 0:
            restart_database()
        decided_for(1)
        schedulers.wake()
        schedulers.kill()
        decided_for(1)
    dues: dict[int, list[dt.datetime]] = defaultdict(list)
    for schedule, due_at, decision in Occurrence.objects.order_by("due_at").values_list(
        "schedule", "due_at", "decision"
    ):
        assert decision == "fired"
        dues[schedule].append(due_at)
    assert len(dues) == SCHEDULES
    for times in dues.values():
        assert times == [times[0] + number * SECOND for number in range(len(times))]
        assert times[0] - began < 2 * SECOND
    jobs = list(Job.objects.values_list("occurrence", flat=True))
    assert len(jobs) == len(set(jobs)) == Occurrence.objects.count()
    assert set(jobs) == set(Occurrence.objects.values_list("pk", flat=True))
    latest = Occurrence.objects.aggregate(late=Max(F("decided_at") - F("due_at")))["late"]
    print(f"{len(jobs)} due times; the latest was decided {latest.total_seconds():.1f} s late")
    if ROUNDS > 1:
        assert latest < FAIL_OVER
