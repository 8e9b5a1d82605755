"""What follows from what happened: the saga as it is now, and what is to be done in the same transaction."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from taskyard.sagas.machine.run import Error, Run


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """What the project's code says of a step before it starts."""

    is_wanted: bool = True
    #: Of a timer.
    until: dt.datetime | None = None
    #: Of a saga within.
    inputs: Mapping[str, Any] | None = None
    #: It raised instead.
    error: Error | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """One line of a saga's history."""

    what: str
    step: str = ""
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """Run a step's function, or its rollback, in this process once the transaction has committed."""

    step: str
    token: str
    is_compensation: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class WriteJob:
    """Write the job of a step, or of its compensation; without a step, the one that coordinates."""

    job: uuid.UUID
    step: str = ""
    is_compensation: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class StartSaga:
    """Start the saga within a step."""

    step: str
    child: uuid.UUID
    inputs: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class UndoSaga:
    """Compensate the saga within a step."""

    step: str
    child: uuid.UUID


@dataclasses.dataclass(frozen=True, slots=True)
class UseLetter:
    """A signal is used."""

    letter: int
    step: str


Order = WriteJob | StartSaga | UndoSaga | UseLetter


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """After an event."""

    run: Run
    notes: tuple[Note, ...] = ()
    orders: tuple[Order, ...] = ()
    #: What the coordinator does next, if the event was its own.
    call: Call | None = None
    #: The step that the project's code has to be asked about first: nothing of this is to be written.
    ask: str = ""


class Stale(Exception):
    """What happened is no news: somebody else has the saga, or the step, in hand."""


class Refused(Exception):
    """What somebody asked for cannot be done to it as it stands."""
