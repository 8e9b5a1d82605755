"""What clocks understand that take five fields of cron, and whether they are then due when the schedule is."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Collection, Iterator
from typing import Literal

from taskyard.errors import CannotSay
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.recurrence import At, Cron, Every, Recurrence
from taskyard.schedules.recurrence.expression import values
from taskyard.schedules.recurrence.zones import zone_named

#: How a clock takes a day of month and a day of week that are both limited. ``debian``: both must match if either
#: begins with a star, else either; ``either``: either, always; ``both``: both, always.
Days = Literal["debian", "either", "both"]

_DAY, _WEEK, _MINUTE = dt.timedelta(days=1), dt.timedelta(days=7), dt.timedelta(minutes=1)
_WEEKDAY_FIELD = 4
_DAYS_OF_WEEK = 7
#: 1970-01-01, from which intervals are counted, was a Thursday.
_THURSDAY = 4
#: How far two recurrences are compared: so many due times, and around each change of the clocks in so many days.
_COMPARED, _COMPARED_DAYS = 100, 3 * 366
_AROUND = dt.timedelta(hours=3)


def five_fields(target: str, recurrence: Recurrence, *, days: Days) -> tuple[str, str]:
    """A recurrence as five fields of numbers, and the time zone they are meant in.

    Names become numbers (Sunday is 0) and steps of a number ranges; a field that begins with a star still does. Raises
    :class:`~taskyard.errors.CannotSay` for what no such clock can be told.
    """
    match recurrence:
        case Cron():
            return _numeric(target, recurrence, days), recurrence.timezone
        case Every():
            return _of_interval(target, recurrence), "UTC"
        case At():
            reason = (
                f"it runs once, at {recurrence.at:%Y-%m-%d %H:%M} UTC, and five fields of cron come again each year"
            )
            raise CannotSay(target, reason)
    raise CannotSay(target, f"nobody has told it what {type(recurrence).__name__} is")


def refuse_window(target: str, definition: Definition) -> None:
    """For a clock that cannot spread its calls; raises :class:`~taskyard.errors.CannotSay`."""
    if definition.bounds.window:
        reason = f"it calls when a schedule is due, and this one is to begin within {definition.bounds.window} of that"
        raise CannotSay(target, reason)


def refuse_differences(target: str, wanted: Recurrence, *, said: Recurrence, since: dt.datetime) -> None:
    """Look whether ``said``, as the clock understands it, is due when it is wanted, also where clocks change.

    Raises :class:`~taskyard.errors.CannotSay` with the first time that differs.
    """
    at = next(_differences(wanted, said, since), None)
    if at is None:
        return
    is_due = "would call, and the schedule is not due" if at in _ats(said, at, at) else "would not call for what is due"
    moment = f"{at:%Y-%m-%d %H:%M} UTC"
    zone = wanted.timezone if isinstance(wanted, Cron) else "UTC"
    if isinstance(said, Cron) and said.timezone != zone:
        raise CannotSay(
            target, f"it keeps the time of {said.timezone}, the schedule that of {zone}: at {moment} it {is_due}"
        )
    raise CannotSay(
        target,
        f"around a change of the clocks of {zone} it {is_due}, at {moment}; choose a time that no clock skips or "
        f"repeats, or gap and fold as it has them ({_policies(said)})",
    )


def _policies(said: Recurrence) -> str:
    return f"gap={said.gap!r}, fold={said.fold!r}" if isinstance(said, Cron) else "it counts on"


def _differences(wanted: Recurrence, said: Recurrence, since: dt.datetime) -> Iterator[dt.datetime]:
    first, second = ([due.at for due in one.next(_COMPARED, since)] for one in (wanted, said))
    differ = set(first) ^ set(second)
    # Where one of them has more due times in all, the other's list only reaches further.
    reach = min(first[-1] if first else since, second[-1] if second else since)
    yield from sorted(at for at in differ if at <= reach or len(first) != len(second))
    zones = {one.timezone for one in (wanted, said) if isinstance(one, Cron)}
    for change in sorted({at for zone in zones for at in _changes(zone, since)}):
        yield from sorted(set(_ats(wanted, *_near(change))) ^ set(_ats(said, *_near(change))))


def _near(change: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    return change - _AROUND, change + _AROUND


def _ats(recurrence: Recurrence, first: dt.datetime, last: dt.datetime) -> list[dt.datetime]:
    """Due times from one instant to another, both included."""
    return [due.at for due in recurrence.between(first - dt.timedelta(microseconds=1), last)]


def _changes(zone_name: str, since: dt.datetime) -> Iterator[dt.datetime]:
    """Instants around which the offset of a zone changes, to the minute."""
    zone = zone_named(zone_name)
    days = (since + n * _DAY for n in range(_COMPARED_DAYS))
    for low, high in itertools.pairwise(days):
        if low.astimezone(zone).utcoffset() == high.astimezone(zone).utcoffset():
            continue
        while high - low > _MINUTE:
            middle = low + (high - low) / 2
            if middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset():
                low = middle
            else:
                high = middle
        yield high


def _numeric(target: str, cron: Cron, days: Days) -> str:
    texts = cron.expression.split()
    said = [_field(target, index, text) for index, text in enumerate(texts)]
    day, weekday = texts[2], texts[_WEEKDAY_FIELD]
    if "*" in (said[2], said[_WEEKDAY_FIELD]):
        return " ".join(said)
    is_both = day.startswith("*") or weekday.startswith("*")
    if days != "debian" and is_both != (days == "both"):
        means = "both the day of month and the day of week" if is_both else "the day of month or the day of week"
        raise CannotSay(target, f"in {cron.expression!r} {means} must match, and it takes that the other way")
    return " ".join(said)


def _field(target: str, index: int, text: str) -> str:
    first, *rest = text.split(",")
    if first in ("*", "*/1"):
        return "*"
    if first.startswith("*"):
        return ",".join([first, *([_compact(_numbers(target, index, ",".join(rest)))] if rest else [])])
    return _compact(_numbers(target, index, text))


def _numbers(target: str, index: int, text: str) -> list[int]:
    found = values(index, text)
    if any(isinstance(value, tuple) or value < 0 for value in found):
        word = "L, the last" if "L" in text else "#, the n-th"
        raise CannotSay(target, f"it has no {word} of a month ({text!r})")
    numbers = {value for value in found if isinstance(value, int)}
    return sorted({number % _DAYS_OF_WEEK for number in numbers} if index == _WEEKDAY_FIELD else numbers)


def _compact(numbers: list[int]) -> str:
    """Sorted numbers as ``1-5``, ``5-50/15`` or ``1,2,7-9``."""
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    if len(numbers) > 2 and len(steps) == 1:
        (step,) = steps
        return f"{numbers[0]}-{numbers[-1]}" + (f"/{step}" if step > 1 else "")
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _of_interval(target: str, every: Every) -> str:
    if every.interval % _MINUTE or every.phase % _MINUTE:
        raise CannotSay(target, f"it counts whole minutes, and this is every {every.interval} from {every.phase}")
    minute, hour = every.phase // _MINUTE % 60, every.phase // _MINUTE // 60 % 24
    if every.interval == _WEEK:
        return f"{minute} {hour} * * {(_THURSDAY + every.phase.days) % _DAYS_OF_WEEK}"
    times = list(times_of_day(every)) if not _DAY % every.interval else []
    minutes, hours = {time % 60 for time in times}, {time // 60 for time in times}
    if not times or len(minutes) * len(hours) != len(times):
        raise CannotSay(target, f"every {every.interval} is not at the same minutes of the same hours each day")
    return f"{_of_all(minutes, 60)} {_of_all(hours, 24)} * * *"


def times_of_day(every: Every) -> Iterator[int]:
    """Minutes after midnight UTC at which an interval that divides the day has its turns."""
    return (int((every.phase + turn * every.interval) / _MINUTE) for turn in range(_DAY // every.interval))


def _of_all(numbers: Collection[int], count: int) -> str:
    step = count // len(numbers)
    if set(numbers) == set(range(0, count, step)):
        return "*" if step == 1 else f"*/{step}" if len(numbers) > 1 else "0"
    return _compact(sorted(numbers))
