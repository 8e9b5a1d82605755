"""Who calls, and for what: a request as a value, and what both ways of proving it agree on."""

from __future__ import annotations

import dataclasses
import datetime as dt

from taskyard.errors import TaskyardError


class Refused(TaskyardError):
    """A call that nobody may make; the reason is for the log, callers are told nothing."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What a request says; nothing of it is believed yet."""

    schedule: str
    #: As it stands in the request.
    due: str
    due_at: dt.datetime
    #: The header ``Authorization``.
    authorization: str
    #: The header ``Taskyard-Signature``.
    signature: str


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may trigger that schedule."""

    #: Kept with the decision.
    name: str
    #: A digest of what proved it, if that is good for one due time only.
    proof: str = ""


def refuse_untimely(call: Call, now: dt.datetime, *, skew: dt.timedelta, lateness: dt.timedelta) -> None:
    """Raise :class:`Refused` for a due time that is still to come or too long ago."""
    if call.due_at > now + skew:
        raise Refused(f"it is due only in {_seconds(call.due_at - now)} s")
    if call.due_at < now - lateness - skew:
        raise Refused(f"it was due {_seconds(now - call.due_at)} s ago, more than LATENESS")


def _seconds(span: dt.timedelta) -> int:
    return int(span.total_seconds())
