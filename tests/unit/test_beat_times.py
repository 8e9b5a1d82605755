"""Beat's crontabs and intervals as recurrences: the same instants, worked out by Celery itself."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence import Bounds, Every
from taskyard.schedules.sources.beat import every, times_of_crontab

NOON = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)

CRONTABS: list[dict[str, Any]] = [
    {},
    {"minute": "*/15"},
    {"minute": 0, "hour": "*/3,8-17"},
    {"minute": "0,30", "hour": "22-2"},
    {"minute": 5, "hour": 4, "day_of_week": "mon-fri"},
    {"minute": 5, "hour": 4, "day_of_week": "fri-mon"},
    {"minute": 0, "hour": 0, "day_of_week": "sunday"},
    {"minute": 0, "hour": 0, "day_of_month": "*/2"},
    {"minute": 0, "hour": 0, "day_of_month": "1-7,15-21"},
    {"minute": 0, "hour": 0, "day_of_month": "1-7", "day_of_week": "mon"},
    {"minute": 0, "hour": 0, "day_of_month": 2, "month_of_year": "*/3"},
    {"minute": 0, "hour": 7, "day_of_month": "31"},
]


@pytest.mark.parametrize("said", CRONTABS, ids=str)
def test_a_crontab_is_due_when_celery_says_it_is(said: dict[str, Any]) -> None:
    moment = NOON
    theirs = crontab(**said, nowfun=lambda: moment)
    cron, calendars = times_of_crontab(theirs, "UTC")
    bounds = Bounds(calendars=calendars)
    ours = (due.at for due in bounds.iter_from(cron, NOON) if not bounds.excluded(due))
    for _ in range(40):
        moment = moment + theirs.remaining_estimate(moment)
        assert next(ours) == moment


def test_what_recurs_within_the_day_recurs_in_a_repeated_hour_and_a_time_of_day_does_not() -> None:
    assert times_of_crontab(crontab(minute="*/15"), "Europe/Berlin").cron.fold == "both"
    assert times_of_crontab(crontab(minute="0,15,30,45"), "Europe/Berlin").cron.fold == "both"
    assert times_of_crontab(crontab(minute=30, hour=2), "Europe/Berlin").cron.fold == "first"
    assert times_of_crontab(crontab(minute=30, hour=2), "Europe/Berlin").cron.expression == "30 2 * * *"


def test_an_interval_counts_from_where_it_was_counted_from() -> None:
    since = dt.datetime(2026, 5, 4, 10, 17, 23, 456, tzinfo=ZoneInfo("Europe/Berlin"))
    daily = every(dt.timedelta(days=1), since)
    assert daily.next(1, NOON)[0].at == since.replace(microsecond=0) + dt.timedelta(days=1)
    assert every(dt.timedelta(hours=1)) == Every(dt.timedelta(hours=1))


@pytest.mark.parametrize("seconds", [0, 0.5, 1.5, -60])
def test_an_interval_that_is_not_of_whole_seconds_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidRecurrence, match="whole seconds"):
        every(dt.timedelta(seconds=seconds))
