"""What can happen to a saga."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Any

from taskyard.sagas.machine.run import Error, Letter
from taskyard.sagas.states import SagaState


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """An attempt of its job has it in hand from now on; what the attempt before was in is lost."""

    runner: uuid.UUID
    token: str
    is_inline: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class JobBegan:
    """An attempt of a step's own job has begun; it is refused when the job is no longer the step's."""

    step: str
    job: uuid.UUID
    token: str


@dataclasses.dataclass(frozen=True, slots=True)
class Returned:
    """The function, or the rollback, of a step returned."""

    step: str
    token: str
    result: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Raised:
    """It raised; ``wait``: how long until it is worth another attempt, None if it is not."""

    step: str
    token: str
    error: Error
    wait: dt.timedelta | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class JobGone:
    """A step's own job ended without a word of how the step went."""

    step: str
    job: uuid.UUID
    error: Error
    #: Another job would fare no better.
    is_final: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class RunnerGone:
    """The job that coordinates ended without a word, or an inline run's lease has passed."""

    runner: uuid.UUID
    #: Set: another job would fare no better.
    error: Error | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Looked:
    """Time has passed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Signalled:
    """A signal came."""

    letter: Letter


@dataclasses.dataclass(frozen=True, slots=True)
class SagaEnded:
    """The saga within a step ended, forward or back."""

    step: str
    child: uuid.UUID
    state: SagaState
    result: Any = None
    error: Error | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing here can run it: its definition is gone or has other steps, its job cannot."""

    error: Error


@dataclasses.dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody wants it undone, and called cancelled."""

    error: Error | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Compensate:
    """Somebody wants what was done undone; of a completed one as well."""

    error: Error | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RetryStep:
    """Somebody wants a failed step, or compensation, tried again, or one that waits for its time tried now."""

    step: str


@dataclasses.dataclass(frozen=True, slots=True)
class SkipStep:
    """Somebody says that a step, or its compensation, need not be done."""

    step: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Resume:
    """Somebody wants it to go on forward: failed steps again, and those that were compensated once more.

    A deadline that has passed counts no more.
    """


Happening = Taken | JobBegan | Returned | Raised | JobGone | RunnerGone | Looked | Signalled | SagaEnded | Stopped
Verb = Cancel | Compensate | RetryStep | SkipStep | Resume
Event = Happening | Verb
