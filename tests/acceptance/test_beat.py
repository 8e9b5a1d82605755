"""Celery's own ``beat`` command with our schedulers: several at once, and one of them killed."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskyard.jobs.models import Job
from taskyard.schedules import Every
from taskyard.schedules.models import Occurrence, Schedule
from tests import nursery
from tests.beat_tables import beat_tables
from tests.servers import wait_until
from tests.workers import Project, WorkerProcess

__all__ = ["beat_tables"]

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = "taskyard.celery.beat:Scheduler"
COMPAT = "taskyard.compat.django_celery_beat:DatabaseScheduler"


@contextmanager
def beat(project: Project, scheduler: str, log: Path) -> Iterator[WorkerProcess]:
    command = ["-m", "celery", "-A", "taskyard", "beat", "-S", scheduler, "--pidfile=", "-l", "info"]
    with log.open("wb") as out:
        process = nursery.start(command, cwd=ROOT, env=project.environment(), stdout=out)
    started = WorkerProcess(process, log)
    try:
        yield started
    finally:
        started.stop()


def fired(name: str) -> int:
    return Occurrence.objects.filter(schedule__name=name, decision="fired").count()


def told(periodic: Any) -> tuple[object, ...]:
    return tuple(type(periodic).objects.values_list("total_run_count", "last_run_at").get())


@pytest.mark.usefixtures("beat_tables")
def test_several_beats_fire_each_due_time_once_and_go_on_when_one_is_killed(project: Project) -> None:
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    project.settings = "tests.compat.beat_settings"
    second = IntervalSchedule.objects.create(every=1, period="seconds")
    periodic = PeriodicTask.objects.create(name="theirs", task="tests.app.plain.double", args="[1]", interval=second)
    every_second = Every(dt.timedelta(seconds=1))
    Schedule.objects.define(name="ours", task="app.nothing", recurrence=every_second, overlap="allow")
    logs = [project.folder / f"beat-{number}.log" for number in range(3)]

    def said() -> str:
        return "".join(log.read_text() for log in logs)

    with beat(project, COMPAT, logs[0]) as first, beat(project, COMPAT, logs[1]), beat(project, OURS, logs[2]):
        wait_until(lambda: "Traceback" in said() or min(fired("theirs"), fired("ours")) > 1, 60, "both are fired")
        first.kill_group()
        before = fired("theirs")
        wait_until(lambda: "Traceback" in said() or fired("theirs") > before + 1, 30, "the other goes on")
        assert "Traceback" not in said(), said()
        runs = Schedule.objects.filter(name="theirs").values_list("runs", "last_at")
        wait_until(lambda: told(periodic) == runs.get(), 30, "theirs is told what ran")
    # No job without its due time, and none twice.
    assert Job.objects.count() == Occurrence.objects.filter(decision="fired").count()
    assert Job.objects.values("occurrence").distinct().count() == Job.objects.count()
