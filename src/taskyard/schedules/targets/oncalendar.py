"""systemd's calendar events: what a recurrence is in them, several lines where it takes several."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Iterable, Iterator

from taskyard.errors import CannotSay
from taskyard.schedules.recurrence import At, Cron, Every, Recurrence
from taskyard.schedules.recurrence.expression import LAST, LAST_WEEKDAY, values

#: As systemd names them; cron counts from Sunday.
_NAMES = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_WEEK = frozenset(range(7))
_FRIDAY = 5
_DAY, _SECOND = dt.timedelta(days=1), dt.timedelta(seconds=1)
_MOST_LINES = 60


@dataclasses.dataclass(frozen=True, slots=True)
class _Days:
    """Some days of a month: weekdays among days counted from its beginning, or from its end; None: all of them."""

    weekdays: frozenset[int] = _WEEK
    first: frozenset[int] | None = None
    last: frozenset[int] | None = None

    def __and__(self, other: _Days) -> _Days:
        return _Days(
            self.weekdays & other.weekdays, _common(self.first, other.first), _common(self.last, other.last)
        )  # fmt: skip

    @property
    def is_empty(self) -> bool:
        return not self.weekdays or frozenset() in (self.first, self.last)

    def text(self, months: str) -> str:
        days = ",".join(_NAMES[day] for day in sorted(self.weekdays)) + " " if self.weekdays != _WEEK else ""
        if self.last is not None:
            return f"{days}*-{months}~{_listed(self.last)}"
        return f"{days}*-{months}-{_listed(self.first)}"


def on_calendar(target: str, recurrence: Recurrence) -> list[str]:
    """Lines for ``OnCalendar=``; raises :class:`~taskyard.errors.CannotSay`."""
    match recurrence:
        case Cron():
            return list(_of_cron(target, recurrence))
        case Every():
            return _of_interval(target, recurrence)
        case At() if not recurrence.at.microsecond:
            return [f"{recurrence.at:%Y-%m-%d %H:%M:%S} UTC"]
    raise CannotSay(target, f"it counts whole seconds, and this is {recurrence!r}")


def _of_cron(target: str, cron: Cron) -> Iterator[str]:
    minute, hour, day, month, weekday = cron.expression.split()
    time = f"{_listed(_plain(1, hour))}:{_listed(_plain(0, minute))}:00"
    by_day, by_weekday = list(_by_day(day)), list(_by_weekday(weekday))
    if day.startswith("*") or weekday.startswith("*"):
        days = [one & other for one, other in itertools.product(by_day, by_weekday)]
    else:
        days = by_day + by_weekday
    for one in days:
        if one.first is not None and one.last is not None:
            raise CannotSay(
                target, f"{cron.expression!r} counts days from both ends of a month, and it can only from one"
            )
        if not one.is_empty:
            yield f"{one.text(_listed(_plain(3, month)))} {time} {cron.timezone}"


def _plain(index: int, text: str) -> frozenset[int] | None:
    found = frozenset(value for value in values(index, text) if isinstance(value, int))
    return None if text in ("*", "*/1") else found


def _by_day(text: str) -> Iterator[_Days]:
    found = values(2, text)
    if plain := frozenset(value for value in found if isinstance(value, int) and value > 0):
        yield _Days(first=None if text == "*" else plain)
    if LAST in found:
        yield _Days(last=frozenset({1}))
    if LAST_WEEKDAY in found:
        # The last day itself, or a Friday with nothing but the weekend behind it.
        yield _Days(weekdays=frozenset(range(1, 6)), last=frozenset({1}))
        yield _Days(weekdays=frozenset({_FRIDAY}), last=frozenset({2, 3}))


def _by_weekday(text: str) -> Iterator[_Days]:
    found = values(4, text)
    if plain := frozenset(value % 7 for value in found if isinstance(value, int)):
        yield _Days(weekdays=plain)
    for value in sorted(value for value in found if isinstance(value, tuple)):
        weekday, number = value
        if number == LAST:
            yield _Days(weekdays=frozenset({weekday % 7}), last=frozenset(range(1, 8)))
        else:
            yield _Days(weekdays=frozenset({weekday % 7}), first=_week(number))


def _week(number: int) -> frozenset[int]:
    """Days on which any weekday is the n-th of its kind in a month."""
    return frozenset(range(7 * number - 6, min(7 * number, 31) + 1))


def _of_interval(target: str, every: Every) -> list[str]:
    """Turns of a day, those at the same minute and second of several hours on one line."""
    if every.interval == 7 * _DAY:
        at = dt.datetime.fromtimestamp(0, dt.UTC) + every.phase
        return [f"{at:%a} *-*-* {at:%H:%M:%S} UTC"]
    if _DAY % every.interval:
        raise CannotSay(target, f"it goes by the calendar, and every {every.interval} is at other times each day")
    if step := _step(every):
        return [f"*-*-* {step} UTC"]
    lines: dict[str, list[int]] = {}
    for turn in range(_DAY // every.interval):
        hour, rest = divmod((every.phase + turn * every.interval) // _SECOND, 3600)
        lines.setdefault(f"{rest // 60:02}:{rest % 60:02}", []).append(hour)
    if len(lines) > _MOST_LINES:
        raise CannotSay(target, f"every {every.interval} would take {len(lines)} lines, more than {_MOST_LINES}")
    return [f"*-*-* {_listed(hours if len(hours) < 24 else None)}:{rest} UTC" for rest, hours in lines.items()]


def _step(every: Every) -> str:
    """Where an interval divides the minute or the hour; else empty."""
    seconds, phase = every.interval // _SECOND, every.phase // _SECOND
    if seconds < 60 and not 60 % seconds:
        return f"*:*:{phase:02}/{seconds}"
    if seconds < 3600 and not seconds % 60 and not 3600 % seconds:
        return f"*:{phase // 60:02}/{seconds // 60}:{phase % 60:02}"
    return ""


def _common(one: frozenset[int] | None, other: frozenset[int] | None) -> frozenset[int] | None:
    return one & other if one is not None and other is not None else other if one is None else one


def _listed(numbers: Iterable[int] | None) -> str:
    return "*" if numbers is None else ",".join(f"{number:02}" for number in sorted(numbers))
