"""``taskyard schedules import``: what is taken over, what is refused, and that a second run changes nothing."""

import datetime as dt
import io
import json
from typing import Any

import pytest

from taskyard.celery import get_app
from taskyard.compat import django_cron
from taskyard.entrypoint import cli
from taskyard.entrypoint.screen import Screen
from taskyard.jobs.models import Job
from taskyard.schedules.models import Schedule
from taskyard.schedules.scheduler import decide_due
from tests.beat_tables import beat_tables

__all__ = ["beat_tables"]

pytestmark = pytest.mark.django_db

CLASSES = [f"tests.app.cron.{name}" for name in ("Often", "AtTimes", "Both", "Odd", "Never", "Nameless", "Missing")]


def taskyard(*words: str) -> tuple[int, str]:
    out = io.StringIO()
    code = cli.run(["schedules", "import", *words], prog="taskyard", has_project=True, screen=Screen(out, out))
    return code, out.getvalue()


def steps(*words: str) -> dict[str, str]:
    return {step["name"]: step["kind"] for step in json.loads(taskyard(*words, "--json")[1])}


def test_cron_classes_become_schedules_and_what_cannot_be_said_is_refused_with_its_reason(settings: Any) -> None:
    settings.CRON_CLASSES, settings.TIME_ZONE = CLASSES, "Europe/Berlin"
    code, said = taskyard("django-cron")
    assert code == 1
    for reason in ("every 7 minutes on some days", "never runs", "has no attribute 'code'", '"Missing"'):
        assert reason in said
    rows = {row.name: row for row in Schedule.objects.all()}
    when = {name: row.recurrence.get("expression", row.recurrence.get("seconds")) for name, row in rows.items()}
    assert when == {
        "shop.often": 1200, "shop.at_times@06:30": "30 6,18 * * 1,0", "shop.at_times@23:15": "15 23 * * 1,0",
        "shop.both": "0 */2 1,10 * *", "shop.both@06:30": "30 6 1,10 * *",
    }  # fmt: skip
    assert rows["shop.both"].recurrence["timezone"] == "Europe/Berlin"
    assert (rows["shop.often"].overlap, rows["shop.at_times@06:30"].overlap) == ("skip", "allow")
    assert "note: it is not retried by itself" in said
    assert set(steps("django-cron").values()) == {"same", "refused"}


def test_the_task_of_a_class_runs_it_and_nothing_else(settings: Any) -> None:
    settings.CRON_CLASSES = CLASSES[:1]
    taskyard("django-cron")
    Schedule.objects.update(next_at=dt.datetime.now(dt.UTC))
    decide_due(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=21))
    job = Job.objects.get()
    assert (job.task, job.kwargs) == ("taskyard.run_cron_class", {"path": "tests.app.cron.Often"})
    assert django_cron.run_cron_class(**job.kwargs) == "done"
    with pytest.raises(Exception, match="not one of CRON_CLASSES"):
        django_cron.run_cron_class("tests.app.cron.Both")


def test_a_rehearsal_writes_nothing(settings: Any) -> None:
    settings.CRON_CLASSES = CLASSES[:2]
    assert steps("django-cron", "--dry-run") == {
        "shop.often": "add", "shop.at_times@06:30": "add", "shop.at_times@23:15": "add"
    }  # fmt: skip
    assert not Schedule.objects.exists()


def test_what_people_changed_stays_and_what_is_theirs_is_left_alone(settings: Any) -> None:
    settings.CRON_CLASSES = CLASSES[:2]
    from taskyard.schedules import Every

    hour = Every(dt.timedelta(hours=1))
    theirs = Schedule.objects.define(name="shop.at_times@06:30", task="app.nothing", recurrence=hour)
    taskyard("django-cron")
    row = Schedule.objects.get(name="shop.often")
    Schedule.objects.filter(pk=row.pk).update(overlap="allow")
    assert steps("django-cron") == {
        "shop.often": "edited", "shop.at_times@06:30": "conflict", "shop.at_times@23:15": "same"
    }  # fmt: skip
    theirs.refresh_from_db()
    row.refresh_from_db()
    assert (theirs.task, row.overlap) == ("app.nothing", "allow")


def test_entries_of_the_app_are_imported_once_and_for_any_scheduler() -> None:
    app = get_app()
    app.conf.beat_schedule = {"often": {"task": "tests.app.plain.double", "schedule": 60, "args": (1,)}}
    try:
        assert steps("celery-beat-schedule") == {"often": "add"}
        assert steps("celery-beat-schedule") == {"often": "same"}
    finally:
        app.conf.beat_schedule = {}
    row = Schedule.objects.get()
    assert (row.origin, row.keeper) == ("import:celery-beat-schedule", "")
    # Imported is moved: what is gone there stays here.
    assert steps("celery-beat-schedule") == {}
    assert Schedule.objects.exists()


@pytest.mark.usefixtures("beat_tables")
def test_rows_of_django_celery_beat_become_ours_and_are_disabled_there() -> None:
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    minute = IntervalSchedule.objects.create(every=1, period="minutes")
    PeriodicTask.objects.create(name="on", task="tests.app.plain.double", args="[1]", interval=minute, queue="low")
    PeriodicTask.objects.create(name="off", task="tests.app.plain.double", interval=minute, enabled=False)
    PeriodicTask.objects.create(name="broken", task="tests.app.plain.double", interval=minute, args="[")
    assert steps("django-celery-beat") == {"broken": "refused", "off": "add", "on": "add"}
    rows = {row.name: row for row in Schedule.objects.all()}
    assert (rows["on"].enabled, rows["on"].queue, rows["on"].keeper, rows["off"].enabled) == (True, "low", "", False)
    assert steps("django-celery-beat", "--disable") == {"broken": "refused", "off": "same", "on": "same"}
    assert list(PeriodicTask.objects.filter(enabled=True).values_list("name", flat=True)) == ["broken"]


@pytest.mark.usefixtures("beat_tables")
def test_rows_that_ran_under_our_beat_become_the_projects_own_with_their_history() -> None:
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    from taskyard.compat.django_celery_beat import DatabaseScheduler

    minute = IntervalSchedule.objects.create(every=1, period="minutes")
    PeriodicTask.objects.create(name="tick", task="tests.app.plain.double", args="[1]", interval=minute)
    DatabaseScheduler(app=get_app()).tick()
    before = Schedule.objects.get()
    assert before.keeper == "django-celery-beat"
    assert steps("django-celery-beat", "--disable") == {"tick": "change"}
    after = Schedule.objects.get()
    assert (after.pk, after.keeper, after.recurrence) == (before.pk, "", before.recurrence)
    DatabaseScheduler(app=get_app()).tick()
    assert Schedule.objects.filter(enabled=True).get() == after


def test_crontab_files_are_not_imported_but_followed() -> None:
    assert "TASKYARD['CRONTABS']" in taskyard("crontab")[1]
