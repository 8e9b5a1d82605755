"""Every and At: instants that no clock change moves."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence.due import Due, Recurrence, in_utc

_ZERO, _SECOND = dt.timedelta(0), dt.timedelta(seconds=1)
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Every(Recurrence):
    """Every ``interval``, counted from 1970-01-01 00:00 UTC plus ``phase``, so a restart shifts nothing.

    Both are whole seconds; ``phase`` is at least zero and less than ``interval``. What is counted are seconds: a day
    of ``Every(timedelta(days=1))`` has 24 hours also where clocks change. Raises :class:`InvalidRecurrence`.
    """

    kind: ClassVar[str] = "every"

    interval: dt.timedelta
    phase: dt.timedelta = _ZERO

    def __post_init__(self) -> None:
        for name, value in (("interval", self.interval), ("phase", self.phase)):
            if not isinstance(value, dt.timedelta) or value % _SECOND:
                raise InvalidRecurrence(f"Every({name}={value!r})", "it must be a timedelta of whole seconds")
        if self.interval < _SECOND:
            raise InvalidRecurrence(f"Every({self.interval!r})", "an interval is one second or more")
        if not _ZERO <= self.phase < self.interval:
            raise InvalidRecurrence(
                f"Every(phase={self.phase!r})", f"it must be at least zero and less than the interval {self.interval}"
            )

    def iter_from(self, after: dt.datetime) -> Iterator[Due]:
        """Due times later than ``after``, up to the year 9999; ``nominal`` is in UTC."""
        turn = (in_utc(after, "after") - _EPOCH - self.phase) // self.interval
        return self._turns(turn)

    def _turns(self, turn: int) -> Iterator[Due]:
        while True:
            turn += 1
            try:
                at = _EPOCH + self.phase + turn * self.interval
            except OverflowError:
                return
            yield Due(at, at.replace(tzinfo=None))

    def to_json(self) -> dict[str, Any]:
        """``kind``, ``seconds`` and ``phase_seconds``, both whole numbers."""
        return {"kind": self.kind, "seconds": self.interval // _SECOND, "phase_seconds": self.phase // _SECOND}


@dataclasses.dataclass(frozen=True, slots=True)
class At(Recurrence):
    """Once, at an instant: an aware datetime, kept in UTC. Raises :class:`InvalidRecurrence` for a naive one."""

    kind: ClassVar[str] = "at"

    at: dt.datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", in_utc(self.at, "At(...)"))

    def iter_from(self, after: dt.datetime) -> Iterator[Due]:
        """The one due time if it is later than ``after``; ``nominal`` is in UTC."""
        is_to_come = self.at > in_utc(after, "after")
        return iter([Due(self.at, self.at.replace(tzinfo=None))] if is_to_come else [])

    def to_json(self) -> dict[str, Any]:
        """``kind``, and ``at`` as ISO 8601 in UTC."""
        return {"kind": self.kind, "at": self.at.isoformat()}
