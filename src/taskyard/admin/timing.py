"""When a schedule runs, between the fields of a form and values; what cannot be read is said at its field."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from django.core.exceptions import ValidationError

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence import (
    At,
    Bounds,
    Calendar,
    Cron,
    Every,
    Recurrence,
    bounds_from_json,
    calendar_from_json,
    recurrence_from_json,
)
from taskyard.schedules.recurrence.expression import is_interval
from taskyard.schedules.recurrence.zones import zone_named

#: The fields that say when it is due.
RECURRENCE_FIELDS = ("kind", "expression", "timezone", "gap", "fold", "interval", "phase", "at")
#: Those of what limits that.
CALENDAR_FIELDS = ("calendar_name", "calendar_weekdays", "calendar_days", "calendar_timezone")
BOUNDS_FIELDS = ("start", "end", "max_runs", "window", *CALENDAR_FIELDS, "more_calendars")

T = TypeVar("T")
_DAY = r"\d{4}-\d\d-\d\d"
_LINE = re.compile(rf"({_DAY})(?:\s*\.\.\s*({_DAY})|\s+(\S.*))?")
_NO_TIME = dt.timedelta(0)


def _at_field(field: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except InvalidRecurrence as error:
        # What it is about is the field it stands at.
        raise ValidationError({field: f"{error.problem[:1].upper()}{error.problem[1:]}."}) from error


def _needed(data: Mapping[str, Any], field: str, sentence: str) -> Any:
    if not data.get(field):
        raise ValidationError({field: sentence})
    return data[field]


# -- recurrence --------------------------------------------------------------------------------------------------------


def recurrence_from_fields(data: Mapping[str, Any]) -> Recurrence:
    """The recurrence that is meant; raises :class:`ValidationError` with the field."""
    match data.get("kind"):
        case "cron":
            return _cron(data)
        case "every":
            interval = _needed(data, "interval", "Say how often: 15 min, 2 h, 1 d.")
            _at_field("interval", lambda: Every(interval))
            return _at_field("phase", lambda: Every(interval, data.get("phase") or _NO_TIME))
        case "at":
            at = _needed(data, "at", "Say when: 2027-02-01 08:00.")
            return _at_field("at", lambda: At(at))
    raise ValidationError({"kind": "Choose one: by the clock, at an interval, or once."})


def _cron(data: Mapping[str, Any]) -> Recurrence:
    expression = _needed(data, "expression", "Say when: five fields, such as 0 3 * * * for every night at three.")
    zone = data.get("timezone") or "UTC"
    _at_field("expression", lambda: Cron(expression))
    _at_field("timezone", lambda: zone_named(zone))
    gap: Any = data.get("gap") or "next_valid"
    fold = data.get("fold") or None
    return _at_field("gap", lambda: Cron(expression, timezone=zone, gap=gap, fold=fold))


def fields_of_recurrence(stored: Any) -> dict[str, Any]:
    """What the fields show of a stored recurrence; nothing of one that nobody can read."""
    try:
        recurrence = recurrence_from_json(stored)
    except InvalidRecurrence:
        return {}
    shown: dict[str, Any]
    match recurrence:
        case Cron(expression=expression, timezone=zone, gap=gap, fold=fold):
            usual = "both" if is_interval(expression) else "first"
            shown = {"expression": expression, "timezone": zone, "gap": gap, "fold": "" if fold == usual else fold}
        case Every(interval=interval, phase=phase):
            shown = {"interval": interval, "phase": phase or None}
        case At(at=at):
            shown = {"at": at}
        case _:
            return {}
    return {"kind": recurrence.kind, **shown}


# -- bounds ------------------------------------------------------------------------------------------------------------


def bounds_from_fields(data: Mapping[str, Any]) -> Bounds:
    """The bounds that are meant; raises :class:`ValidationError` with the field."""
    start, end = data.get("start"), data.get("end")
    window, most = data.get("window") or _NO_TIME, data.get("max_runs")
    _at_field("window", lambda: Bounds(window=window))
    _at_field("max_runs", lambda: Bounds(max_runs=most))
    calendars = tuple(_calendars(data))
    return _at_field("end", lambda: Bounds(start=start, end=end, max_runs=most, calendars=calendars, window=window))


def _calendars(data: Mapping[str, Any]) -> Iterator[Calendar]:
    calendar = _calendar(data)
    if calendar != Calendar(name=calendar.name, timezone=calendar.timezone):
        yield calendar
    elif calendar.name or calendar.timezone:
        raise ValidationError({"calendar_days": "Say which days are left out, or take name and time zone away."})
    for stored in data.get("more_calendars") or ():
        yield _at_field("more_calendars", partial(calendar_from_json, stored))


def _calendar(data: Mapping[str, Any]) -> Calendar:
    said: dict[str, list[Any]] = {"dates": [], "ranges": [], "holidays": []}
    for number, line in enumerate((data.get("calendar_days") or "").splitlines(), 1):
        if line.strip():
            kind, day = _read_line(number, line.strip())
            said[kind].append(day)
    zone = data.get("calendar_timezone") or ""
    _at_field("calendar_timezone", lambda: Calendar(timezone=zone))
    weekdays, name = data.get("calendar_weekdays") or (), data.get("calendar_name") or ""
    return _at_field("calendar_days", lambda: Calendar(name=name, weekdays=weekdays, timezone=zone, **said))


def _read_line(number: int, line: str) -> tuple[str, Any]:
    match = _LINE.fullmatch(line)
    try:
        if match is not None:
            day = dt.date.fromisoformat(match[1])
            if match[2]:
                return "ranges", (day, dt.date.fromisoformat(match[2]))
            return ("holidays", (day, match[3])) if match[3] else ("dates", day)
    except ValueError:
        # No such day.
        pass
    forms = "2027-12-25, 2027-12-25 Christmas Day, or 2027-12-24 .. 2027-12-31"
    raise ValidationError({"calendar_days": f"Line {number}, “{line:.80}”: write {forms}."})


def fields_of_bounds(stored: Any) -> dict[str, Any]:
    """What the fields show of stored bounds; nothing of those that nobody can read."""
    try:
        bounds = bounds_from_json(stored)
    except InvalidRecurrence:
        return {}
    calendars = list(bounds.calendars)
    shown = fields_of_calendar(calendars[0]) if calendars else None
    more = calendars if shown is None else calendars[1:]
    return {
        "start": bounds.start, "end": bounds.end, "max_runs": bounds.max_runs, "window": bounds.window or None,
        **(shown or {}), "more_calendars": [calendar.to_json() for calendar in more],
    }  # fmt: skip


def fields_of_calendar(calendar: Calendar) -> dict[str, Any] | None:
    """A calendar as fields; None for one that they cannot say, which is left in JSON."""
    days = calendar.to_json()
    lines = [*days["dates"], *(f"{first} .. {last}" for first, last in days["ranges"])]
    lines += [f"{day} {name}" for day, name in days["holidays"].items()]
    shown = {
        "calendar_name": calendar.name, "calendar_weekdays": days["weekdays"],
        "calendar_days": "\n".join(sorted(lines)), "calendar_timezone": calendar.timezone,
    }  # fmt: skip
    try:
        return shown if list(_calendars(shown)) == [calendar] else None
    except ValidationError:
        return None
