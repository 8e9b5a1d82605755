"""What the seam and the result backend know of the attempt that runs here: what it sent, and in which phase."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from taskyard.celery.attempt.connections import open_blocks
from taskyard.execution.claim import Claim
from taskyard.execution.outcome import Outcome, Trouble
from taskyard.jobs.redaction import secrets_of
from taskyard.jobs.running import RunningJob

if TYPE_CHECKING:
    from taskyard.celery.seam import Sent

_attempt: ContextVar[Attempt | None] = ContextVar("taskyard_attempt", default=None)
_heir: ContextVar[str | None] = ContextVar("taskyard_heir", default=None)


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
        running.secrets = cache(partial(secrets_of, claim.task, args=claim.args, kwargs=claim.kwargs))
        self.phase = Phase.UNWINDING
        #: Within which transactions it began: eagerly, a job may run in its caller's.
        self.blocks = open_blocks()
        #: Set by ``Task.replace``: everything it sends waits for the settle that makes the row wait.
        self.is_replacing = self.was_replaced = False
        #: A message with the job's own id: the retry that ``self.retry()`` sent.
        self.own: Sent | None = None
        self.followers: list[Sent] = []
        self.steps: list[Callable[[str, Any], None]] = []
        #: Decided while unwinding; None until then.
        self.verdict: Outcome | None = None
        self.trouble: Trouble | None = None
        #: What the body raised and ends the job. Celery hands on what can be pickled, which may be of another class.
        self.raised: Exception | None = None
        #: Celery's ``throws``: classes of errors that a log need not shout about.
        self.expected: Any = ()
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


def heir() -> str | None:
    """The tenant of the job from which what is written now follows; None: it follows from none."""
    tenant = _heir.get()
    if tenant is not None:
        return tenant
    attempt = _attempt.get()
    return None if attempt is None or attempt.phase is Phase.BODY else attempt.claim.tenant


@contextlib.contextmanager
def following(tenant: str) -> Iterator[None]:
    """What is written within follows from a job of this tenant, whoever is current: an operator who cancels it, say."""
    token = _heir.set(tenant)
    try:
        yield
    finally:
        _heir.reset(token)


class attempting:
    """Context manager: ``attempt`` is the current one; restores exactly what was there."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    def __enter__(self) -> Attempt:
        # Run eagerly, a job may begin within what follows from another one.
        self._token, self._heir = _attempt.set(self.attempt), _heir.set(None)
        return self.attempt

    def __exit__(self, *exc: object) -> None:
        _heir.reset(self._heir)
        _attempt.reset(self._token)
