"""Rows of django-celery-beat on our engine, one turn at a time: clocks are arguments."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard.jobs.models import Job
from taskyard.schedules.models import Occurrence, Schedule
from taskyard.schedules.scheduler import Scheduler
from tests.beat_tables import beat_tables

__all__ = ["beat_tables"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("beat_tables")]

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND, MINUTE, HOUR, DAY = (dt.timedelta(seconds=n) for n in (1, 60, 3600, 86400))


@pytest.fixture
def beat() -> Iterator["Beat"]:
    yield Beat()


class Beat:
    """One Beat process; several may stand side by side."""

    def __init__(self) -> None:
        from taskyard.celery import get_app
        from taskyard.compat.django_celery_beat import DatabaseScheduler
        from taskyard.compat.django_celery_beat.scheduler import Turns

        self.scheduler = DatabaseScheduler(app=get_app())
        self.turns = Turns(self.scheduler)

    def turn(self, now: dt.datetime) -> int:
        """Until there is nothing more to do then; how many jobs that brought."""
        before = Job.objects.count()
        while not self.turns.pause(self.turns.run_once(now), is_deaf=True):
            pass
        return Job.objects.count() - before


def every(seconds: int) -> dict[str, Any]:
    from django_celery_beat.models import IntervalSchedule

    return {"interval": IntervalSchedule.objects.get_or_create(every=seconds, period="seconds")[0]}


def crontab(minute: str = "*", hour: str = "*", **said: Any) -> dict[str, Any]:
    from django_celery_beat.models import CrontabSchedule

    return {"crontab": CrontabSchedule.objects.get_or_create(minute=minute, hour=hour, **said)[0]}


def clocked(at: dt.datetime) -> dict[str, Any]:
    from django_celery_beat.models import ClockedSchedule

    return {"clocked": ClockedSchedule.objects.get_or_create(clocked_time=at)[0], "one_off": True}


def periodic(name: str = "tick", *, since: dt.datetime = NOW, **said: Any) -> Any:
    """A row as it is after its last change at that time."""
    from django_celery_beat.models import PeriodicTask

    task = PeriodicTask.objects.create(name=name, **{"task": "tests.app.plain.double", "args": "[1]", **said})
    PeriodicTask.objects.filter(pk=task.pk).update(date_changed=since)
    return task


def kept(task: Any) -> Schedule:
    return Schedule.objects.get(subject_id=str(task.pk), keeper="django-celery-beat")


def test_a_row_runs_its_task_and_is_told_when_it_ran(beat: Beat) -> None:
    task = periodic(**every(60), queue="low", priority=7, headers='{"colour": "red"}', expire_seconds=30)
    assert beat.turn(NOW) == 0
    assert beat.turn(NOW + MINUTE) == 1
    job = Job.objects.get()
    assert (job.task, job.args, job.queue, job.priority) == ("tests.app.plain.double", [1], "low", 7)
    assert job.message["headers"] == {"colour": "red", "periodic_task_name": "tick"}
    assert job.expires_at == NOW + MINUTE + 30 * SECOND
    assert list(Job.objects.for_subject(task)) == [job]
    task.refresh_from_db()
    assert (task.last_run_at, task.total_run_count) == (NOW + MINUTE, 1)


def test_schedulers_of_workers_leave_it_alone(beat: Beat) -> None:
    periodic(**every(60))
    beat.turn(NOW)
    assert Scheduler().run_once(NOW + HOUR) == 0
    assert not Job.objects.exists()


def test_two_beats_fire_once(beat: Beat) -> None:
    other = Beat()
    periodic(**every(60))
    for minute in range(4):
        beat.turn(NOW + minute * MINUTE)
        other.turn(NOW + minute * MINUTE)
    assert Schedule.objects.count() == 1
    assert Job.objects.count() == 3


def test_a_daily_run_is_missed_once_and_comes_neither_early_nor_twice(beat: Beat) -> None:
    """Beat down from 9 to 14 o'clock; the next day it would come at 8, and again at 10."""
    periodic(**crontab("0", "10"), since=NOW - 30 * DAY)
    nine = NOW.replace(hour=9)
    beat.turn(nine)
    ran = []
    for hour in range(24):
        now = nine + 5 * HOUR + hour * HOUR
        ran += [now.hour] * beat.turn(now)
    assert ran == [14, 10]
    assert [o.decision for o in Occurrence.objects.order_by("due_at")][-2:] == ["fired", "fired"]


def test_an_edit_counts_at_once_and_brings_nothing_forward(beat: Beat) -> None:
    task = periodic(**crontab("0", "13"))
    beat.turn(NOW)
    task.crontab = crontab("30", "12")["crontab"]
    task.save()
    beat.turn(NOW + SECOND)
    assert kept(task).next_at == NOW + 30 * MINUTE
    task.enabled = False
    task.save()
    assert beat.turn(NOW + HOUR) == 0
    task.enabled = True
    task.save()
    assert beat.turn(NOW + HOUR + MINUTE) == 0
    assert kept(task).next_at == NOW + DAY + 30 * MINUTE


def test_other_edits_lose_no_due_time(beat: Beat) -> None:
    task = periodic(**every(60))
    beat.turn(NOW)
    task.description = "as before"
    task.save()
    assert beat.turn(NOW + MINUTE) == 1


def test_what_tells_nobody_is_found_within_five_minutes(beat: Beat) -> None:
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    one, other = periodic(**crontab("0", "13")), periodic("other", **every(3600))
    beat.turn(NOW)
    PeriodicTask.objects.filter(pk=other.pk).update(enabled=False)
    CrontabSchedule.objects.update(hour="15")
    beat.turn(NOW + 5 * MINUTE)
    assert kept(one).next_at == NOW + 3 * HOUR
    assert kept(other).next_at is None


def test_a_shared_schedule_a_new_row_and_a_deletion_are_seen_at_once(beat: Beat) -> None:
    one, other = periodic("one", **crontab("0", "13")), periodic("other", **crontab("0", "13"))
    beat.turn(NOW)
    one.crontab.hour = "14"
    one.crontab.save()
    new = periodic("new", **every(60))
    other.delete()
    beat.turn(NOW + SECOND)
    assert set(Schedule.objects.values_list("name", flat=True)) == {"one", "new"}
    assert kept(one).next_at == NOW + 2 * HOUR
    assert kept(new).next_at is not None


def test_only_what_was_edited_is_read_again(beat: Beat, django_assert_max_num_queries: Any) -> None:
    tasks = [periodic(f"t{n}", **every(3600)) for n in range(30)]
    beat.turn(NOW)
    with django_assert_max_num_queries(2):
        beat.turns.run_once(NOW + SECOND)
    tasks[3].args = "[2]"
    tasks[3].save()
    versions = dict(Schedule.objects.values_list("pk", "version"))
    beat.turn(NOW + 2 * SECOND)
    changed = [pk for pk, version in Schedule.objects.values_list("pk", "version") if versions[pk] != version]
    assert changed == [kept(tasks[3]).pk]


def test_once_is_once_and_may_be_asked_for_again(beat: Beat) -> None:
    task = periodic(**clocked(NOW + MINUTE))
    assert [beat.turn(NOW + n * MINUTE) for n in range(3)] == [0, 1, 0]
    task.refresh_from_db()
    assert (task.enabled, task.total_run_count) == (True, 1)
    beat.turn(NOW + 8 * MINUTE)
    task.refresh_from_db()
    assert (task.enabled, task.total_run_count) == (False, 0)
    task.enabled = True
    task.save()
    assert beat.turn(dt.datetime.now(dt.UTC) + MINUTE) == 1


def test_a_time_that_has_passed_runs_at_once(beat: Beat) -> None:
    periodic(**clocked(NOW - 900 * DAY))
    assert beat.turn(NOW + SECOND) == 1


def test_a_year_of_missed_minutes_is_one_run_and_few_decisions(beat: Beat) -> None:
    task = periodic(**crontab())
    type(task).objects.update(last_run_at=NOW - 400 * DAY)
    beat.turn(NOW + 30 * SECOND)
    assert Job.objects.count() == 1
    assert Occurrence.objects.count() <= 2


def test_it_ends_and_is_disabled_then(beat: Beat) -> None:
    task = periodic(**every(60), expires=NOW + 2 * MINUTE)
    assert [beat.turn(NOW + n * MINUTE) for n in range(4)] == [0, 1, 0, 0]
    beat.turn(NOW + 9 * MINUTE)
    task.refresh_from_db()
    assert not task.enabled


def test_it_begins_at_its_start_and_counts_from_there(beat: Beat) -> None:
    periodic(**every(3600), start_time=NOW + 90 * SECOND)
    assert [beat.turn(NOW + n * 30 * SECOND) for n in range(5)] == [0, 0, 0, 1, 0]
    assert beat.turn(NOW + HOUR + 90 * SECOND) == 1


def test_an_interval_goes_on_from_its_last_run(beat: Beat) -> None:
    task = periodic(**every(86400))
    type(task).objects.update(last_run_at=NOW - 20 * HOUR)
    beat.turn(NOW)
    assert kept(task).next_at == NOW + 4 * HOUR
    assert beat.turn(NOW + 4 * HOUR) == 1
    # A new process finds the row as it is.
    Beat().turn(NOW + 5 * HOUR)
    assert kept(task).next_at == NOW + 28 * HOUR


def test_days_of_month_and_of_week_must_both_match(beat: Beat) -> None:
    task = periodic(**crontab("0", "8", day_of_month="1-7", day_of_week="1"))
    beat.turn(NOW)
    # Mondays among the first seven days: cron would take either.
    assert [f"{due.at:%m-%d}" for due in kept(task).preview(3)] == ["06-01", "07-06", "08-03"]


def test_a_zone_and_a_change_of_the_clocks(beat: Beat) -> None:
    task = periodic(**crontab("30", "2", timezone="Europe/Berlin"))
    beat.turn(NOW)
    (due,) = kept(task).next(1, after=dt.datetime(2027, 3, 27, 12, tzinfo=dt.UTC))
    assert (due.at, due.mark) == (dt.datetime(2027, 3, 28, 1, tzinfo=dt.UTC), "gap")


def test_the_sun_is_followed_from_one_noon_to_the_next(beat: Beat) -> None:
    pytest.importorskip("ephem")
    from django_celery_beat.models import SolarSchedule

    noon = SolarSchedule.objects.create(event="solar_noon", latitude=48.06, longitude=12.86)
    task = periodic(solar=noon)
    beat.turn(NOW)
    first = kept(task).next_at
    assert first is not None
    assert NOW - HOUR < first - DAY < NOW
    assert beat.turn(first) == 1
    beat.turn(first + 6 * MINUTE)
    following = kept(task).next_at
    assert following is not None
    assert 23 * HOUR < following - first < 25 * HOUR


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"args": "[1"}, "args are no JSON"),
        ({"kwargs": "[1]"}, "kwargs must be a JSON object"),
        ({"interval": {"every": 100, "period": "microseconds"}}, "whole seconds"),
        ({"crontab": {"day_of_month": "31", "month_of_year": "2"}}, "never occurs"),
    ],
)
def test_what_cannot_be_said_is_parked_with_its_reason_until_it_is_mended(
    beat: Beat, said: dict[str, Any], reason: str
) -> None:
    from django_celery_beat.models import CrontabSchedule, IntervalSchedule

    when = every(60)
    if "interval" in said:
        when = {"interval": IntervalSchedule.objects.create(**said.pop("interval"))}
    elif "crontab" in said:
        when = {"crontab": CrontabSchedule.objects.create(**said.pop("crontab"))}
    task, whole = periodic("broken", **when, **said), periodic("whole", **every(60))
    assert beat.turn(NOW + MINUTE) == 1
    assert (kept(task).next_at, reason in kept(task).error) == (None, True)
    assert kept(whole).error == ""
    task.interval, task.crontab, task.args, task.kwargs = every(60)["interval"], None, "[]", "{}"
    task.save()
    beat.turn(NOW + 2 * MINUTE)
    assert kept(task).error == ""
    assert kept(task).next_at is not None


def test_a_name_that_is_taken_gets_an_addition(beat: Beat) -> None:
    Schedule.objects.define(name="tick", task="app.nothing", recurrence=kept_every_hour())
    task = periodic(**every(60))
    beat.turn(NOW)
    Beat().turn(NOW)
    assert kept(task).name == f"tick (django-celery-beat {task.pk})"


def kept_every_hour() -> Any:
    from taskyard.schedules import Every

    return Every(HOUR)


def test_entries_of_the_settings_become_rows_and_nothing_is_read_for_it(beat: Beat, settings: Any) -> None:
    from django_celery_beat.models import PeriodicTask

    from taskyard.compat.django_celery_beat import DatabaseScheduler

    app = beat.scheduler.app
    app.conf.beat_schedule = {"often": {"task": "tests.app.plain.double", "schedule": 60.0, "args": (1,)}}
    try:
        scheduler = DatabaseScheduler(app=app)
    finally:
        app.conf.beat_schedule = {}
    assert scheduler._initial_read
    assert json.loads(PeriodicTask.objects.get(name="often").args) == [1]
