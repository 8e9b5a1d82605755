"""What a batch's counts mean: its state, and whom to tell of it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from enum import StrEnum


class BatchState(StrEnum):
    """Stored as its lower-case name; final once landed."""

    #: Members have not ended, or it is still being opened. Stuck when a member is; ``doctor`` tells why jobs wait.
    RUNNING = "running"
    #: All members have ended, well or not: the counts say. An operator's retry of one makes it running again.
    COMPLETED = "completed"
    #: The same, and somebody cancelled the batch before.
    CANCELLED = "cancelled"


class Moment(StrEnum):
    """When something is enqueued because of a batch; each comes once in its life, whatever is retried later."""

    #: A member failed for good.
    FAILURE = "failure"
    #: All members have ended.
    COMPLETE = "complete"
    #: All members have ended and nobody cancelled the batch: the next stage.
    NEXT = "next"
    #: All members have succeeded, perhaps after an operator's retry long after they had all ended.
    SUCCESS = "success"


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """Counts of a batch, none of them still on its way."""

    total: int
    succeeded: int
    failed: int
    cancelled: int
    #: No more members come from the block that opens it.
    is_sealed: bool
    is_cancelled: bool
    #: A member has failed since the last look, even if it was brought back meanwhile.
    saw_failure: bool = False

    @property
    def is_over(self) -> bool:
        """Whether all members have ended."""
        return self.is_sealed and self.succeeded + self.failed + self.cancelled >= self.total


def state_of(standing: Standing) -> BatchState:
    """The state these counts mean."""
    if not standing.is_over:
        return BatchState.RUNNING
    return BatchState.CANCELLED if standing.is_cancelled else BatchState.COMPLETED


def due(standing: Standing, told: Collection[Moment]) -> list[Moment]:
    """Moments that have come and whose callbacks are not enqueued yet."""
    come = {
        Moment.FAILURE: standing.failed > 0 or standing.saw_failure,
        Moment.COMPLETE: standing.is_over,
        Moment.NEXT: standing.is_over and not standing.is_cancelled,
        Moment.SUCCESS: standing.is_over and standing.succeeded == standing.total,
    }
    return [moment for moment, has_come in come.items() if has_come and moment not in told]
