"""What the seam and the result backend know of the attempt that runs here: what it sent, and in which phase."""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from taskyard.execution.claim import Claim
from taskyard.execution.outcome import Outcome, Trouble
from taskyard.jobs.running import RunningJob

if TYPE_CHECKING:
    from taskyard.celery.seam import Sent

_attempt: ContextVar[Attempt | None] = ContextVar("taskyard_attempt", default=None)


class Phase(enum.Enum):
    """Where an attempt stands; decides what becomes of the messages sent meanwhile."""

    #: The user's code runs: what it sends belongs to its own transactions and is written at once.
    BODY = "body"
    #: Celery's tracer unwinds: links, the next chain step, callbacks are held for the settle.
    UNWINDING = "unwinding"
    #: The settle's transaction is open: what is sent now is part of it.
    SETTLING = "settling"


class Attempt:
    """One per claimed job, from claim to settle."""

    def __init__(self, claim: Claim, running: RunningJob) -> None:
        self.claim, self.running = claim, running
        self.phase = Phase.UNWINDING
        #: Set by ``Task.replace``: everything it sends waits for the settle that makes the row wait.
        self.is_replacing = self.was_replaced = False
        #: A message with the job's own id: the retry that ``self.retry()`` sent.
        self.own: Sent | None = None
        self.followers: list[Sent] = []
        self.steps: list[Callable[[str, Any], None]] = []
        #: Decided while unwinding; None until then.
        self.verdict: Outcome | None = None
        self.trouble: Trouble | None = None
        self.result: str | None = None
        #: What the task said of itself by ``update_state()``.
        self.custom_state: str | None = None
        self.custom_meta: Any = None

    @property
    def celery_id(self) -> str:
        """The id Celery knows the job by."""
        return self.claim.task_id

    def hold_back(self, sent: list[Sent]) -> list[Sent]:
        """Keep what must wait for the settle; the rest, to be written now."""
        if self.phase is Phase.SETTLING:
            return sent
        now: list[Sent] = []
        for one in sent:
            if self.is_replacing:
                self.followers.append(one)
            elif one.job.id == self.claim.id:
                self.own = one
            elif self.phase is Phase.UNWINDING:
                self.followers.append(one)
            else:
                now.append(one)
        return now


def current_attempt() -> Attempt | None:
    """The attempt that runs in this context, or None."""
    return _attempt.get()


class attempting:
    """Context manager: ``attempt`` is the current one; restores exactly what was there."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    def __enter__(self) -> Attempt:
        self._token = _attempt.set(self.attempt)
        return self.attempt

    def __exit__(self, *exc: object) -> None:
        _attempt.reset(self._token)
