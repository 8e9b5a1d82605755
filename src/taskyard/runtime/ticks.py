"""How the threads of this process go on: what a heartbeat writes down for whoever judges from outside."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """One turn of an agent that came to its end."""

    #: When that turn began.
    at: dt.datetime
    #: When the agent meant to begin the next one.
    next_at: dt.datetime
    #: How many turns in a row, this one the last, ended in an error.
    failures: int = 0

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"at": self.at.isoformat(), "next_at": self.next_at.isoformat(), "failures": self.failures}


_ticks: dict[str, Tick] = {}


def note(name: str, at: dt.datetime, *, wait_seconds: float = 0.0, failures: int = 0) -> None:
    """A turn of an agent ended; the next begins after ``wait_seconds``. With 0 before the first: it is due now."""
    _ticks[name] = Tick(at, at + dt.timedelta(seconds=max(0.0, wait_seconds)), failures)


def forget(name: str) -> None:
    """The agent has left, or does for now what has no turns."""
    _ticks.pop(name, None)


def ticks() -> dict[str, Any]:
    """The last turn of each agent of this process, as it is stored."""
    return {name: tick.as_json() for name, tick in sorted(_ticks.copy().items())}
