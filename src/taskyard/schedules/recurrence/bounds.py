"""Between when, how often and on which days a recurrence counts, and where in a window a run begins."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence.calendars import Calendar, calendar_from_json
from taskyard.schedules.recurrence.due import Due, Recurrence, in_utc
from taskyard.schedules.recurrence.stored import fields_of, moment_from, seconds_from

_ZERO, _SECOND, _MICROSECOND = dt.timedelta(0), dt.timedelta(seconds=1), dt.timedelta(microseconds=1)
_HASH_BYTES = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What limits a recurrence: first and last instant (both belong to it), most runs, calendars, a window.

    Who counts the runs says what a run is: ``runs`` is an argument. Due times that a calendar excludes are not left
    out of what :meth:`iter_from` gives; :meth:`excluded` says why they do not run. Raises :class:`InvalidRecurrence`.
    """

    start: dt.datetime | None = None
    end: dt.datetime | None = None
    max_runs: int | None = None
    calendars: Iterable[Calendar] = ()
    #: Each run begins somewhere in this long a time after it is due; see :func:`offset_in`.
    window: dt.timedelta = _ZERO

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            moment = getattr(self, name)
            object.__setattr__(self, name, None if moment is None else in_utc(moment, name))
        object.__setattr__(self, "calendars", tuple(self.calendars))
        if self.start and self.end and self.start > self.end:
            raise InvalidRecurrence("Bounds", f"the start {self.start} is later than the end {self.end}")
        if self.max_runs is not None and (type(self.max_runs) is not int or self.max_runs < 1):
            raise InvalidRecurrence(f"max_runs={self.max_runs!r}", "it must be a whole number above zero, or None")
        if not isinstance(self.window, dt.timedelta) or self.window < _ZERO or self.window % _SECOND:
            raise InvalidRecurrence(f"window={self.window!r}", "it must be a timedelta of whole seconds, not negative")
        if not all(isinstance(calendar, Calendar) for calendar in self.calendars):
            raise InvalidRecurrence("Bounds", "calendars must be Calendar values")

    def iter_from(self, recurrence: Recurrence, after: dt.datetime) -> Iterator[Due]:
        """Due times later than ``after`` from start to end, excluded ones among them."""
        after = in_utc(after, "after")
        if self.start:
            after = max(after, self.start - _MICROSECOND)
        return itertools.takewhile(lambda due: self.end is None or due.at <= self.end, recurrence.iter_from(after))

    def excluded(self, due: Due) -> str:
        """The reason of the first calendar that excludes a due time; empty if none does."""
        return next(filter(None, (calendar.excluded(due) for calendar in self.calendars)), "")

    def is_spent(self, runs: int) -> bool:
        """Whether ``runs`` runs were all there are to be."""
        return self.max_runs is not None and runs >= self.max_runs

    def to_json(self) -> dict[str, Any]:
        """Plain data that :func:`bounds_from_json` makes an equal value of."""
        return {
            "start": self.start and self.start.isoformat(),
            "end": self.end and self.end.isoformat(),
            "max_runs": self.max_runs,
            "calendars": [calendar.to_json() for calendar in self.calendars],
            "window_seconds": self.window // _SECOND,
        }


def bounds_from_json(data: Any) -> Bounds:
    """The bounds whose ``to_json()`` gave ``data``; raises :class:`InvalidRecurrence` for anything else."""
    what = "Stored bounds"
    types = {"start": str, "end": str, "max_runs": int, "calendars": list, "window_seconds": int}
    given = fields_of(what, data, types=types)
    moments = {
        name: moment_from(what, given[name], kind=dt.datetime) if name in given else None for name in ("start", "end")
    }
    return Bounds(
        start=moments["start"],
        end=moments["end"],
        max_runs=given.get("max_runs"),
        calendars=[calendar_from_json(calendar) for calendar in given.get("calendars", ())],
        window=seconds_from(what, given.get("window_seconds", 0)),
    )


def offset_in(window: dt.timedelta, key: str) -> dt.timedelta:
    """How long after the due time the run of ``key`` begins: at least zero, less than ``window``, in microseconds.

    Always the same for the same key (schedule and tenant) and window, in every process and version. Keys fall evenly,
    as chance does: of n runs in a window of n seconds some second has several.
    """
    length = window // _MICROSECOND
    if length < 0:
        raise InvalidRecurrence(f"window={window!r}", "a window cannot be negative")
    # Python's own hash differs from process to process.
    share = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=_HASH_BYTES).digest())
    return dt.timedelta(microseconds=length * share >> 8 * _HASH_BYTES)
