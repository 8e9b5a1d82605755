"""How an attempt ended, as values; deciding is pure, acting on it is settle's."""

from __future__ import annotations

import dataclasses
import datetime as dt


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong: class name, message, reason code, traceback text without local variables.

    Secrets are taken out of its texts when they are stored (:mod:`taskyard.execution.cleaning`).
    """

    type: str
    message: str = ""
    reason: str = ""
    traceback: str = ""
    #: Where in the project's own code, see :func:`taskyard.failures.frames.own_frames`.
    frames: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Succeeded:
    """The body returned; ``result`` is its JSON text, None if it is not kept."""

    result: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RetryAt:
    """Another attempt at a time; ``counts`` is False for ends that spend none of the allowed attempts."""

    at: dt.datetime
    trouble: Trouble
    counts: bool = True
    #: A Celery retry may come with other arguments and headers (JSON texts); None keeps what the row has.
    args: str | None = None
    kwargs: str | None = None
    message: str | None = None
    queue: str | None = None
    #: A child process died of it: counts towards quarantine.
    is_crash: bool = False
    #: Celery's ``max_retries`` is checked by Celery; the row only follows.
    extends: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """No attempt is left, or none is worth it."""

    trouble: Trouble
    result: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Cancelled:
    """Ended on purpose: cancelled, discarded, expired."""

    reason: str
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Snoozed:
    """Put back until a time, without spending an attempt."""

    until: dt.datetime
    reason: str = "snoozed"
    #: What the job waits for, where its body was not called: it stands on the job, and no attempt is recorded.
    waits_for: Trouble | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """The body handed over to a canvas whose last task takes the row over."""


Outcome = Succeeded | RetryAt | Failed | Cancelled | Snoozed | Waiting

#: First waits after a crash, doubling: a job that kills its worker must not take the next one down at once.
_CRASH_WAIT = dt.timedelta(seconds=1)


def lost(trouble: Trouble, *, crashes: int, is_crash: bool, poison_after: int, now: dt.datetime) -> RetryAt | Failed:
    """What becomes of a job whose worker or child is gone.

    A killed worker spends nothing: the job runs again at once. A killed child counts towards quarantine, because the
    job itself is the likeliest cause: after ``poison_after`` in a row it is failed with reason ``poison``.
    """
    if not is_crash:
        return RetryAt(now, trouble, counts=False)
    if crashes + 1 >= poison_after:
        return Failed(dataclasses.replace(trouble, reason="poison"))
    return RetryAt(now + _CRASH_WAIT * 2**crashes, trouble, counts=False, is_crash=True)
