"""Days on which nothing runs, and why."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence.due import Due
from taskyard.schedules.recurrence.stored import fields_of, moment_from
from taskyard.schedules.recurrence.zones import local, zone_named

#: As ``date.weekday()`` counts them.
WEEKDAYS = {
    "MON": "Monday", "TUE": "Tuesday", "WED": "Wednesday", "THU": "Thursday", "FRI": "Friday", "SAT": "Saturday",
    "SUN": "Sunday",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Dates, weekdays (``"SAT"``), ranges of dates (both ends belong to them) and holidays by name.

    Holidays are data: a mapping of date to name, from wherever the project has them. Days are those of the
    recurrence's own zone, and a time that clocks skip belongs to the day it was asked for; with ``timezone`` they
    are those of that zone, at the instant it runs. Give that to a calendar for ``Every`` and ``At``, whose own zone
    is UTC. Order and repetition of what is given do not matter. Raises :class:`InvalidRecurrence`.
    """

    #: Said in front of every reason; may be empty.
    name: str = ""
    dates: Iterable[dt.date] = ()
    weekdays: Iterable[str] = ()
    ranges: Iterable[tuple[dt.date, dt.date]] = ()
    holidays: Mapping[dt.date, str] | Iterable[tuple[dt.date, str]] = ()
    timezone: str = ""

    def __post_init__(self) -> None:
        holidays = self.holidays.items() if isinstance(self.holidays, Mapping) else self.holidays
        kept = {
            "dates": tuple(sorted({self._day(day) for day in self.dates})),
            "weekdays": tuple(sorted({self._weekday(day) for day in self.weekdays}, key=list(WEEKDAYS).index)),
            "ranges": tuple(sorted({self._range(*ends) for ends in self.ranges})),
            "holidays": tuple(sorted({self._day(day): str(name) for day, name in holidays}.items())),
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)
        if self.timezone:
            zone_named(self.timezone)

    def excluded(self, due: Due) -> str:
        """Why a due time is left out, in words; empty if it is not."""
        day = local(due.at, zone_named(self.timezone)).date() if self.timezone else due.nominal.date()
        reason = self._reason(day)
        return f"{self.name}: {reason}" if reason and self.name else reason

    def _reason(self, day: dt.date) -> str:
        holiday = dict(self.holidays).get(day)
        if holiday is not None:
            return f"{day} is {holiday}"
        if day in self.dates:
            return f"{day} is excluded"
        for first, last in self.ranges:
            if first <= day <= last:
                return f"{day} is excluded, from {first} to {last}"
        weekday = list(WEEKDAYS)[day.weekday()]
        return f"{day} is a {WEEKDAYS[weekday]}" if weekday in self.weekdays else ""

    def to_json(self) -> dict[str, Any]:
        """Plain data that :func:`calendar_from_json` makes an equal calendar of."""
        return {
            "name": self.name,
            "dates": [day.isoformat() for day in self.dates],
            "weekdays": list(self.weekdays),
            "ranges": [[first.isoformat(), last.isoformat()] for first, last in self.ranges],
            "holidays": {day.isoformat(): name for day, name in dict(self.holidays).items()},
            "timezone": self.timezone,
        }

    def _day(self, day: Any) -> dt.date:
        # A datetime is a date to Python, and equal to none.
        if not isinstance(day, dt.date) or isinstance(day, dt.datetime):
            raise InvalidRecurrence(f"Calendar {self.name!r}", f"{day!r:.80} is not a date")
        return day

    def _weekday(self, day: Any) -> str:
        name = str(day).upper()
        if name not in WEEKDAYS:
            raise InvalidRecurrence(f"Calendar {self.name!r}", f"{day!r:.80} is none of {', '.join(WEEKDAYS)}")
        return name

    def _range(self, first: Any, last: Any) -> tuple[dt.date, dt.date]:
        if self._day(first) > self._day(last):
            raise InvalidRecurrence(f"Calendar {self.name!r}", f"the range from {first} to {last} runs backwards")
        return first, last


def calendar_from_json(data: Any) -> Calendar:
    """The calendar whose ``to_json()`` gave ``data``; raises :class:`InvalidRecurrence` for anything else."""
    what = "A stored calendar"
    types = {"name": str, "dates": list, "weekdays": list, "ranges": list, "holidays": dict, "timezone": str}
    given = fields_of(what, data, types=types)

    def day(text: Any) -> dt.date:
        return moment_from(what, text, kind=dt.date)

    if any(not isinstance(ends, list) or len(ends) != 2 for ends in given.get("ranges", ())):
        raise InvalidRecurrence(what, "'ranges' must be a list of pairs of dates, first and last")
    return Calendar(
        name=given.get("name", ""),
        dates=[day(text) for text in given.get("dates", ())],
        weekdays=given.get("weekdays", ()),
        ranges=[(day(first), day(last)) for first, last in given.get("ranges", ())],
        holidays={day(text): name for text, name in given.get("holidays", {}).items()},
        timezone=given.get("timezone", ""),
    )
