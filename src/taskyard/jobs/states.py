"""The states of a job: how one gets in, how one gets stuck, who frees it."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Stored as its lower-case name; final once landed."""

    #: In the table, waiting for its time or its turn. Stuck when no feeder runs; ``doctor`` says so.
    PENDING = "pending"
    #: Its message is in the broker's window. Stuck when the message got lost; the feeder publishes it again.
    QUEUED = "queued"
    #: A worker owns attempt n. Stuck when that worker is gone; the rescuer gives it back.
    RUNNING = "running"
    #: The body handed over to a canvas; the last task of that canvas takes the row over.
    WAITING = "waiting"
    #: An attempt ended badly and the next one waits for its time. Freed by the feeder.
    RETRYING = "retrying"
    #: Final: the body returned.
    SUCCEEDED = "succeeded"
    #: Final: no attempt is left, or the error is not worth one. An operator's retry brings it back.
    FAILED = "failed"
    #: Final: cancelled, discarded or expired before it could succeed. An operator's retry brings it back.
    CANCELLED = "cancelled"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
UNFINISHED = frozenset(State) - FINAL

#: Where a row stands in line; the one thing about the state that indexes know (docs/decisions/0002).
LANE_LATER, LANE_DUE, LANE_OUT = 0, 1, 2
