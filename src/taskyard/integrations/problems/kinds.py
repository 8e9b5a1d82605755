"""The one table that says what each error means over HTTP."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What an error of ours is to a client."""

    status: int
    title: str
    #: What to say of it, where the error's own sentence names settings, servers or others' work.
    says: str = ""
    #: Whether its own sentence may be shown: it holds nothing but what the caller sent, and names of tasks and queues.
    is_public: bool = False
    #: When to try again, in seconds.
    retry_after: int | None = None


_FAULT = Kind(500, "Internal error", "This is a fault of the application; its log says what happened.")
_AWAY = Kind(503, "Temporarily unavailable", "Try again in a moment.", retry_after=10)


def _unusable(title: str) -> Kind:
    return Kind(422, title, is_public=True)


_NOT_FOUND = Kind(404, "Not found", "There is nothing of that name or id here.")

#: By name of the class in :mod:`taskyard.errors`; a class that is not listed is what its base class is. What another
#: tenant owns is answered exactly as what does not exist.
KINDS = {
    "TaskyardError": _FAULT,
    "ConfigurationError": _FAULT,
    "NotReady": _FAULT,
    "InvalidTask": _FAULT,
    "NoCurrentJob": _FAULT,
    "JobNotWaitable": _FAULT,
    "JobFenced": _FAULT,
    "DamagedTarget": _FAULT,
    "UnknownLine": _FAULT,
    "CommandFailed": _FAULT,
    "InvalidProgress": _FAULT,
    "InvalidOrchestrator": _FAULT,
    "SagaFailed": Kind(500, "It failed", "It was not done; its saga says what of it was, and what became of that."),
    "NotInStep": _FAULT,
    "NotAllowed": Kind(403, "Not allowed", "You may not do this."),
    "NotFound": _NOT_FOUND,
    "UnknownTenant": _NOT_FOUND,
    "TenantMismatch": _NOT_FOUND,
    "UnknownSchedule": _NOT_FOUND,
    "UndeclaredSchedule": _NOT_FOUND,
    "NoTenant": Kind(400, "No tenant", "This belongs to a tenant, and the request names none."),
    "WrongState": Kind(409, "Not in this state", "It cannot be done to it as it stands."),
    "DuplicateJob": Kind(409, "Already running", "A job for the same thing has not ended yet."),
    "DuplicateBatch": Kind(409, "Already running", "A batch for the same thing has not ended yet."),
    "BatchEnded": Kind(409, "Batch ended", "It has ended or is cancelled, and takes no more members."),
    "SagaNotFinished": Kind(409, "Not finished", "It has not ended yet.", retry_after=10),
    "NoRelease": Kind(409, "No release", "Nobody said which release runs here."),
    "JobCancelled": Kind(409, "Cancelled", "The work was cancelled before it came to its end."),
    "PayloadTooLarge": Kind(413, "Arguments too large", is_public=True),
    "PayloadError": _unusable("Arguments cannot be stored"),
    # A model or a date: whoever sent JSON did not send that.
    "NotJson": _FAULT,
    "StillHidden": _unusable("Hidden arguments"),
    "InvalidName": _unusable("Unusable name"),
    "UnknownTask": Kind(422, "Unknown task", "There is no task of that name."),
    "UnknownOrchestrator": Kind(422, "Unknown orchestrator", "There is no orchestrator of that name."),
    "UnknownQueue": Kind(422, "Unknown queue", "There is no queue of that name."),
    "InvalidLimit": _unusable("Unusable limit"),
    "InvalidSchedule": _unusable("Unusable schedule"),
    "InvalidRecurrence": _unusable("Unusable recurrence"),
    "UnknownTarget": _unusable("Unknown target"),
    "CannotSay": _unusable("The target cannot say this"),
    "TargetFailed": Kind(502, "The target failed", "What keeps the schedules did not do as it was told."),
    "TenantNotReady": Kind(503, "Tenant not ready", "It is being prepared; try again.", retry_after=30),
    "PublishFailed": _AWAY,
    "BrokerUnreachable": _AWAY,
    # What a body raises to steer its job, when it was called without one.
    "Retry": _AWAY,
    "Snooze": _AWAY,
    "Discard": Kind(422, "Discarded", "The work was given up as not worth doing."),
}  # fmt: skip


def kind_of(error: type[BaseException]) -> tuple[str, Kind] | None:
    """The name in the table that a class of ours answers to, and what stands there; None for others' errors."""
    for base in error.__mro__:
        if base.__module__ == "taskyard.errors" and base.__name__ in KINDS:
            return base.__name__, KINDS[base.__name__]
    return None
