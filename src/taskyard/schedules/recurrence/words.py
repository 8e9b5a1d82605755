"""A recurrence in an English sentence."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from zoneinfo import ZoneInfo

from taskyard.schedules.recurrence.cron import Cron
from taskyard.schedules.recurrence.due import Recurrence
from taskyard.schedules.recurrence.every import At, Every
from taskyard.schedules.recurrence.expression import described
from taskyard.schedules.recurrence.zones import zone_named

_GAPS = {
    "next_valid": "a skipped time runs at the next valid instant",
    "skip": "a skipped time does not run",
    "same_offset": "a skipped time runs as if the clocks had not changed",
}
_FOLDS = {
    "first": "a repeated one once, the first time",
    "last": "a repeated one once, the second time",
    "both": "a repeated one both times",
}
_UNITS = (("week", 7 * 86_400), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_SOME_DAY = dt.datetime.fromisoformat("2000-01-01T00:00:00Z")
_MONTHS_LOOKED_AT = 12 * 38


def explain(recurrence: Recurrence) -> str:
    """When it is due, in plain English, with the zone; and what clock changes do to it, where clocks change."""
    match recurrence:
        case Cron():
            return _cron(recurrence)
        case Every():
            return _every(recurrence)
        case At():
            return f"Once, at {_said(recurrence.at)} UTC"
    raise TypeError(f"explain() takes a recurrence, not {recurrence!r}")


def _cron(cron: Cron) -> str:
    sentence = f"{described(cron.expression)}, {cron.timezone}"
    if not _changes_clocks(zone_named(cron.timezone)):
        return sentence
    return f"{sentence}; {_GAPS[cron.gap]}, {_FOLDS[cron.fold or 'first']}"


@lru_cache(maxsize=1_024)
def _changes_clocks(zone: ZoneInfo) -> bool:
    """Whether its offset ever changes from 2000 to 2037, as far as is known; looked at once a month."""
    moments = (_SOME_DAY + month * dt.timedelta(days=30) for month in range(_MONTHS_LOOKED_AT))
    return len({moment.astimezone(zone).utcoffset() for moment in moments}) > 1


def _every(every: Every) -> str:
    """Where the interval divides the day, its turns are at the same times each day."""
    day, anchor = _said(_EPOCH + every.phase).split(" ")
    is_daily = not dt.timedelta(days=1) % every.interval
    start = f" from {anchor} UTC" if is_daily else f", counted from {day} {anchor} UTC"
    return f"Every {_duration(every.interval)}{start}"


def _duration(length: dt.timedelta) -> str:
    rest = length // dt.timedelta(seconds=1)
    parts: list[str] = []
    for unit, seconds in _UNITS:
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return parts[0].removeprefix("1 ") if len(parts) == 1 else " ".join(parts)


def _said(moment: dt.datetime) -> str:
    """To the minute where that is exact."""
    exact = "minutes" if not moment.second and not moment.microsecond else "auto"
    return moment.replace(tzinfo=None).isoformat(" ", exact)
