"""What Beat and its relatives say of times, as recurrences."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any, NamedTuple

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence import Calendar, Cron, Every
from taskyard.schedules.recurrence.calendars import WEEKDAYS

#: As crontabs of Celery count them.
_FROM_SUNDAY = ("SUN", *[day for day in WEEKDAYS if day != "SUN"])
_SECOND = dt.timedelta(seconds=1)
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


class Times(NamedTuple):
    """A cron, and what its five fields cannot say."""

    cron: Cron
    calendars: tuple[Calendar, ...]


def times_of_crontab(crontab: Any, timezone: str) -> Times:
    """The due times of a ``celery.schedules.crontab`` in a zone.

    Celery wants day of month and day of week to match both, where cron takes either: days of the week become a
    calendar then, and those it rules out are recorded as suppressed. Raises
    :class:`~taskyard.errors.InvalidRecurrence` for what would never be due.
    """
    days, weekdays = crontab.day_of_month, crontab.day_of_week
    needs_both = len(days) < 31 and len(weekdays) < 7
    fields = (
        _field(crontab.minute, 0, 59),
        _field(crontab.hour, 0, 23),
        _field(days, 1, 31),
        _field(crontab.month_of_year, 1, 12),
        "*" if needs_both else _field(weekdays, 0, 6),
    )
    is_interval = any(sign in f"{crontab._orig_minute}{crontab._orig_hour}" for sign in "*/")
    cron = Cron(" ".join(fields), timezone=timezone, fold="both" if is_interval else "first")
    if not needs_both:
        return Times(cron, ())
    free = [name for number, name in enumerate(_FROM_SUNDAY) if number not in weekdays]
    return Times(cron, (Calendar(weekdays=free),))


def _field(values: Collection[int], low: int, high: int) -> str:
    """The values of one field, as somebody would write them."""
    listed = sorted(values)
    if len(listed) == high - low + 1:
        return "*"
    step = listed[1] - listed[0] if len(listed) > 2 else 0
    if step and listed == list(range(low, high + 1, step)):
        return f"*/{step}"
    return ",".join(map(str, listed))


def every(interval: dt.timedelta, since: dt.datetime | None = None) -> Every:
    """Each interval, counted from an instant. Raises for one that is not of whole seconds: nothing finer is kept."""
    if interval % _SECOND or interval < _SECOND:
        raise InvalidRecurrence(f"An interval of {interval.total_seconds():g} s", "it must be of whole seconds")
    if since is None:
        return Every(interval)
    return Every(interval, phase=(since.replace(microsecond=0) - _EPOCH) % interval)
