"""Recurrences, bounds and calendars as JSON: read back exactly, or refused in a sentence."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence.cron import Cron
from taskyard.schedules.recurrence.due import Recurrence
from taskyard.schedules.recurrence.every import At, Every

_Moment = TypeVar("_Moment", dt.date, dt.datetime)
_JSON_NAMES = {str: "a string", int: "a whole number", list: "a list", dict: "an object"}


def recurrence_from_json(data: Any) -> Recurrence:
    """The recurrence whose ``to_json()`` gave ``data``; raises :class:`InvalidRecurrence` for anything else.

    What has a default may be left out; what is not known is refused, so that a misspelt policy is not a default.
    """
    kind = data.get("kind") if isinstance(data, Mapping) else None
    read = {"cron": _cron, "every": _every, "at": _at}.get(kind) if isinstance(kind, str) else None
    if read is None:
        wanted = 'an object with "kind": "cron", "every" or "at"'
        raise InvalidRecurrence("A stored recurrence", f"it must be {wanted}; it is {data!r:.80}")
    return read({name: value for name, value in data.items() if name != "kind"})


def _cron(data: Mapping[str, Any]) -> Cron:
    types = {"expression": str, "timezone": str, "gap": str, "fold": str}
    given = fields_of("A stored cron", data, types=types, required=("expression",))
    return Cron(given.pop("expression"), **given)


def _every(data: Mapping[str, Any]) -> Every:
    what = "A stored interval"
    given = fields_of(what, data, types={"seconds": int, "phase_seconds": int}, required=("seconds",))
    return Every(seconds_from(what, given["seconds"]), seconds_from(what, given.get("phase_seconds", 0)))


def _at(data: Mapping[str, Any]) -> At:
    what = "A stored time"
    given = fields_of(what, data, types={"at": str}, required=("at",))
    return At(moment_from(what, given["at"], kind=dt.datetime))


def fields_of(what: str, data: Any, *, types: Mapping[str, type], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of an object, each of its type (``null`` counts as left out); no other field, none missing."""
    if not isinstance(data, Mapping):
        raise InvalidRecurrence(what, f"it must be an object; it is {data!r:.80}")
    for name, value in data.items():
        if name not in types:
            near = difflib.get_close_matches(str(name), types, n=1)
            hint = f"did you mean {near[0]!r}" if near else f"there are {', '.join(types)}"
            raise InvalidRecurrence(what, f"{name!r} is not known; {hint}")
        # Exactly: True is no number here.
        if value is not None and type(value) is not types[name]:
            raise InvalidRecurrence(what, f"{name!r} must be {_JSON_NAMES[types[name]]}; it is {value!r:.80}")
    given = {name: value for name, value in data.items() if value is not None}
    for name in required:
        if name not in given:
            raise InvalidRecurrence(what, f"{name!r} is missing")
    return given


def moment_from(what: str, text: Any, *, kind: type[_Moment]) -> _Moment:
    """A date or a datetime from ISO 8601."""
    try:
        return kind.fromisoformat(text)
    except (TypeError, ValueError):
        example = "2027-02-01" if kind is dt.date else "2027-02-01T08:00:00+00:00"
        raise InvalidRecurrence(what, f"{text!r:.80} is not written like {example}") from None


def seconds_from(what: str, seconds: int) -> dt.timedelta:
    """A duration from whole seconds."""
    try:
        return dt.timedelta(seconds=seconds)
    except OverflowError:
        raise InvalidRecurrence(what, f"{seconds!r:.80} seconds are more than can be counted") from None
