"""The five fields: cronsim decides what they mean; here is what a person is told when they mean nothing."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from cronsim import CronSim, CronSimError

from taskyard.errors import InvalidRecurrence

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
LAST: int = CronSim.LAST
LAST_WEEKDAY: int = CronSim.LAST_WEEKDAY
#: Longer than any that means something; int() of a very long number is an error of another kind.
_LONGEST = 500
#: Where to look for a first due time, and to read an expression that is not iterated; any year would do.
_SOME_DAY = dt.datetime.fromisoformat("2000-01-01T00:00:00")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def takes(self) -> str:
        named = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"{self.name} takes {self.low} to {self.high}{named}, *, lists (1,2), ranges (1-5) and steps (*/2)"


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS),
)


def normalised(text: str) -> str:
    """The expression in upper case, one space between fields, aliases expanded; refuses what is never due."""
    what = f"Cron {text!r:.80}"
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise InvalidRecurrence(what, f"an expression is a string of at most {_LONGEST} characters")
    fields = ALIASES.get(text.strip().lower(), text).upper().split()
    if text.lstrip().startswith("@") and len(fields) != len(_FIELDS):
        raise InvalidRecurrence(what, _about_alias(text.strip().lower()))
    if len(fields) != len(_FIELDS):
        raise InvalidRecurrence(what, _about_count(len(fields)))
    expression = " ".join(fields)
    try:
        is_ever_due = next(CronSim(expression, _SOME_DAY), None) is not None
    except CronSimError:
        raise InvalidRecurrence(what, _about_fields(fields)) from None
    if not is_ever_due:
        raise InvalidRecurrence(what, _NEVER)
    return expression


def walls(expression: str, after: dt.datetime) -> Iterator[dt.datetime]:
    """Naive wall-clock times later than ``after``, without regard to changes of the clocks."""
    times = CronSim(expression, after)
    while (wall := next(times, None)) is not None and wall.year < dt.MAXYEAR:
        yield wall


def values(index: int, text: str) -> set[int | tuple[int, int]]:
    """What one field (0: minute, 4: day of week) stands for, as cronsim says it: numbers, with 7 for a Sunday too.

    ``L`` and ``LW`` are :data:`LAST` and :data:`LAST_WEEKDAY`, ``5L`` is ``(5, LAST)``, and ``1#2`` is ``(1, 2)``.
    """
    fields = ["*"] * len(_FIELDS)
    fields[index] = text
    read = CronSim(" ".join(fields), _SOME_DAY)
    found: tuple[set[Any], ...] = (read.minutes, read.hours, read.days, read.months, read.weekdays)
    return found[index]


def is_interval(expression: str) -> bool:
    """Whether it says every so many minutes or hours, rather than at which: a star or a step in either field.

    The rule of Debian's cron (a star), with steps that begin elsewhere (``5/15``) counted too, as Cronos does.
    """
    minute, hour, *_ = expression.split()
    return any(sign in field for field in (minute, hour) for sign in "*/")


def described(expression: str) -> str:
    """cronsim's English sentence, without a full stop."""
    words: str = CronSim(expression, _SOME_DAY).explain()
    return re.sub(r"\b([2-5])([123])th\b", lambda found: found[1] + _ORDINALS[found[2]], words)


#: cronsim 2.8 says "21th".
_ORDINALS = {"1": "1st", "2": "2nd", "3": "3rd"}
_NEVER = "no date matches all of it, so it would never be due"


def _about_alias(alias: str) -> str:
    if alias == "@reboot":
        return "@reboot is no time; enqueue the task where your program starts"
    if alias.startswith("@every"):
        return "it is written Every(timedelta(...))"
    near = difflib.get_close_matches(alias, ALIASES, n=1, cutoff=0)
    return f"there is no such alias; did you mean {near[0]}"


def _about_count(count: int) -> str:
    wanted = "minute, hour, day of month, month, day of week"
    if count == len(_FIELDS) + 1:
        return (
            f"six fields; Taskyard takes five ({wanted}): leave the seconds out, or use Every(timedelta(seconds=...))"
        )
    return f"{count} {'field' if count == 1 else 'fields'} where five are wanted: {wanted}"


def _about_fields(fields: list[str]) -> str:
    """Which field cronsim cannot read, and why: each entry of each list is tried alone."""
    for index, (field, text) in enumerate(zip(_FIELDS, fields, strict=True)):
        for entry in text.split(","):
            if not _stands_alone(index, entry):
                return f"{field.name} {text!r}: {_about_entry(index, entry)}"
    return _NEVER


def _stands_alone(index: int, entry: str) -> bool:
    fields = ["*"] * len(_FIELDS)
    fields[index] = entry
    try:
        CronSim(" ".join(fields), _SOME_DAY)
    except CronSimError:
        return False
    return True


def _about_entry(index: int, entry: str) -> str:
    field = _FIELDS[index]
    hint = _about_dialect(field, entry) or _about_range(index, entry) or _about_name(field, entry)
    if hint:
        return hint
    if entry.isdecimal():
        return f"{entry} is out of range; {field.takes()}"
    return f"{entry!r} cannot be read; {field.takes()}" if entry else f"an entry is empty; {field.takes()}"


def _about_dialect(field: _Field, entry: str) -> str:
    """What other crons can say and this one cannot."""
    if "?" in entry:
        return "'?' is of another dialect; write *"
    if re.match(r"H($|[(/])", entry):
        return "H (a time chosen by hash) is not supported; give a time, and a window to spread the runs over"
    if field.name == "day of month" and entry.endswith("W"):
        return "W (the weekday nearest to a date) is not supported; LW, the last weekday of the month, is"
    if field.name == "day of month" and entry.startswith("L-"):
        return "days before the last one cannot be counted; L, the last day, can be asked for"
    if field.name == "day of week" and (named := re.fullmatch(rf"({'|'.join(_DAYS)})?L", entry)):
        day = named[1] or "FRI"
        return f"the last {day} of a month is written {_DAYS.index(day)}L"
    return ""


def _about_range(index: int, entry: str) -> str:
    field = _FIELDS[index]
    if re.search(r"/0*$", entry):
        return "a step is a number above zero"
    ends = re.fullmatch(r"(\w+)-(\w+)", entry)
    if ends and all(_stands_alone(index, end) for end in ends.groups()):
        return f"a range cannot run backwards; write {ends[1]}-{field.high},{field.low}-{ends[2]}"
    return ""


def _about_name(field: _Field, entry: str) -> str:
    name = re.search(r"[A-Z]{3,}", entry)
    if not field.names or name is None or name[0] in field.names:
        return ""
    near = name[0][:3] if name[0][:3] in field.names else "".join(difflib.get_close_matches(name[0], field.names, n=1))
    return f"there is no {field.name} {name[0]}" + (f"; did you mean {near}" if near else f"; {field.takes()}")
