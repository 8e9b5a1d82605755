"""What a wall-clock time is in a time zone: one instant, two, or none."""

from __future__ import annotations

import datetime as dt
import difflib
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence.due import Mark

#: Names that zoneinfo finds on some machines only, or that count leap seconds.
_NO_ZONES = ("posix/", "right/", "posixrules", "localtime", "Factory")
_SECOND = dt.timedelta(seconds=1)
#: No zone ever jumped further: Samoa left out a day in 2011.
_FURTHEST_JUMP = dt.timedelta(hours=25)
#: Further out, a time zone away is more than a datetime holds.
_FIRST, _LAST = (dt.datetime.fromisoformat(day) for day in ("0001-01-03T00:00Z", "9999-12-29T00:00Z"))


class Reading(NamedTuple):
    """A wall-clock time read in a zone, as instants in UTC."""

    #: ``gap``: clocks never show it; ``fold``: they show it twice.
    mark: Mark
    #: The instant; in a fold the first of two; in a gap the first instant after it.
    earliest: dt.datetime
    #: The instant; in a fold the second of two; in a gap where it would lie if the clocks had not been changed.
    latest: dt.datetime


def read(wall: dt.datetime, zone: ZoneInfo) -> Reading:
    """Read a naive ``wall``-clock time; ``fold`` of it is not looked at."""
    # What PEP 495 says: in a gap, fold=0 has the offset from before the change, and fold=1 the one from after it.
    before, after = (_offset(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    as_utc = wall.replace(tzinfo=dt.UTC, fold=0)
    if before == after:
        return Reading("", as_utc - before, as_utc - before)
    if before > after:
        return Reading("fold", as_utc - before, as_utc - after)
    return Reading("gap", _end_of_gap(wall, zone, as_utc - after, as_utc - before), as_utc - before)


def _end_of_gap(wall: dt.datetime, zone: ZoneInfo, low: dt.datetime, high: dt.datetime) -> dt.datetime:
    """The first instant whose wall-clock time is later than ``wall``: not at ``low`` yet, at ``high`` surely."""
    while high - low > _SECOND:
        middle = low + (high - low) // (2 * _SECOND) * _SECOND
        if local(middle, zone) > wall:
            high = middle
        else:
            low = middle
    return high


def local(instant: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The naive wall-clock time at an instant."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def wall_before_all_later(instant: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """A naive wall-clock time, seconds whole, such that none up to it lies after ``instant`` in any reading.

    Around a change of the clocks that is earlier than what clocks show: times from before can still come again.
    """
    instant = min(max(instant, _FIRST), _LAST)
    moments = (instant - _FURTHEST_JUMP, instant, instant + _FURTHEST_JUMP)
    least = min(_offset(moment.astimezone(zone)) for moment in moments)
    return (instant + least).replace(tzinfo=None, microsecond=0)


def _offset(moment: dt.datetime) -> dt.timedelta:
    offset = moment.utcoffset()
    assert offset is not None
    return offset


@lru_cache(maxsize=1_024)
def zone_named(name: str) -> ZoneInfo:
    """The zone of an IANA name; raises :class:`InvalidRecurrence` with names that are like it."""
    what = f"Time zone {name!r}"
    if not isinstance(name, str):
        raise InvalidRecurrence(what, "it must be an IANA name such as 'Europe/Berlin'")
    try:
        # OSError: the name of a folder ("Europe"). ValueError: no name of a file at all.
        if not name.startswith(_NO_ZONES):
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    known = available_timezones()
    if not known:
        raise InvalidRecurrence(what, "this machine has no time zones: install the package tzdata")
    near = _near(name, known)
    hint = f"did you mean {' or '.join(map(repr, near))}" if near else "give an IANA name such as 'Europe/Berlin'"
    raise InvalidRecurrence(what, f"there is no such zone; {hint}")


def _near(name: str, known: set[str]) -> list[str]:
    """Up to three zones: spelled like it, or with a last part spelled like it."""
    wanted = name.casefold().strip().replace(" ", "_")
    whole = {one.casefold(): one for one in sorted(known)}
    last = {one.rpartition("/")[2]: zone for one, zone in whole.items() if "/" in one}
    close = [whole[one] for one in difflib.get_close_matches(wanted, whole, n=3, cutoff=0.75)]
    close += [last[one] for one in difflib.get_close_matches(wanted.rpartition("/")[2], last, n=3, cutoff=0.75)]
    return list(dict.fromkeys(close))[:3]
