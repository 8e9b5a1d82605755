"""Cron: wall-clock times in a zone, and what becomes of those that clocks skip or repeat."""

from __future__ import annotations

import dataclasses
import datetime as dt
import heapq
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal, get_args

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence.due import Due, Recurrence, in_utc
from taskyard.schedules.recurrence.expression import is_interval, normalised, walls
from taskyard.schedules.recurrence.zones import Reading, read, wall_before_all_later, zone_named

Gap = Literal["next_valid", "skip", "same_offset"]
Fold = Literal["first", "last", "both"]

_SOME_DAY = dt.datetime.fromisoformat("2000-01-01T00:00:00Z")
#: After which it is never due again; cronsim stops looking for a date then, too.
_YEARS_WITHOUT = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Cron(Recurrence):
    """Five fields of cron (with ``L``, ``#``, names and aliases such as ``@daily``) in an IANA time zone.

    ``gap`` says what becomes of a time that the clocks skip: it runs at the next valid instant (``next_valid``), not
    at all (``skip``), or as if they had not been changed (``same_offset``). ``fold`` says which of the two passes of
    a repeated time counts: ``first``, ``last`` or ``both``. Without it that is ``both`` if the minute or the hour has
    a star or a step (*every so often*), and ``first`` otherwise (*at that time*). Several due times that fall on the
    same instant are one.

    Resolution is a minute. Days follow Debian's cron: day of month and day of week must both match if one of them
    begins with a star, and either of them otherwise. The value keeps the expression in upper case, aliases expanded,
    and the policy that ``fold`` stands for. Raises :class:`InvalidRecurrence`, also for what would never be due.
    """

    kind: ClassVar[str] = "cron"

    expression: str
    timezone: str = dataclasses.field(default="UTC", kw_only=True)
    gap: Gap = dataclasses.field(default="next_valid", kw_only=True)
    fold: Fold | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "expression", normalised(self.expression))
        zone_named(self.timezone)
        if self.fold is None:
            object.__setattr__(self, "fold", "both" if is_interval(self.expression) else "first")
        for name, value, known in (("gap", self.gap, get_args(Gap)), ("fold", self.fold, get_args(Fold))):
            if value not in known:
                raise InvalidRecurrence(f"{name}={value!r}", f"it must be one of {', '.join(known)}")
        if self.gap == "skip" and not self.next(1, _SOME_DAY):
            raise InvalidRecurrence(f"Cron {self.expression!r}", f"clocks of {self.timezone} skip it each time")

    def iter_from(self, after: dt.datetime) -> Iterator[Due]:
        """Due times later than ``after``; ends where none follows for fifty years, and before the year 9999."""
        after = in_utc(after, "after")
        return (due for due in _in_order(self._readings(after)) if due.at > after)

    def _readings(self, after: dt.datetime) -> Iterator[tuple[dt.datetime, list[Due]]]:
        """For each wall-clock time the earliest instant that it or any later one can have, and its due times."""
        zone = zone_named(self.timezone)
        start = wall_before_all_later(after, zone)
        last_year = start.year
        for wall in walls(self.expression, start):
            reading = read(wall, zone)
            dues = self._dues(wall, reading)
            last_year = wall.year if dues else last_year
            if wall.year > last_year + _YEARS_WITHOUT:
                return
            yield reading.earliest, dues

    def _dues(self, wall: dt.datetime, reading: Reading) -> list[Due]:
        mark, earliest, latest = reading
        if mark == "gap":
            at = {"next_valid": earliest, "skip": None, "same_offset": latest}[self.gap]
            return [Due(at, wall, mark)] if at else []
        passes = {"first": (0,), "last": (1,), "both": (0, 1)}[self.fold or "first"] if mark else (0,)
        return [Due((earliest, latest)[fold], wall.replace(fold=fold), mark) for fold in passes]

    def to_json(self) -> dict[str, Any]:
        """``kind``, ``expression``, ``timezone``, ``gap`` and ``fold``."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


def _in_order(readings: Iterable[tuple[dt.datetime, list[Due]]]) -> Iterator[Due]:
    """Due times by their instants, one for each; times of day in order are not, where clocks go back."""
    waiting: list[Due] = []
    for earliest, dues in readings:
        while waiting and waiting[0].at < earliest:
            yield _take(waiting)
        for due in dues:
            heapq.heappush(waiting, due)
    while waiting:
        yield _take(waiting)


def _take(waiting: list[Due]) -> Due:
    """All that falls on the first instant, as one: the time that clocks do show, else the first they skip."""
    same = [heapq.heappop(waiting)]
    while waiting and waiting[0].at == same[0].at:
        same.append(heapq.heappop(waiting))
    return min(same, key=lambda due: (due.mark == "gap", due.nominal))
