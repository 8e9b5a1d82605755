"""The states of a saga and of its steps: how one gets in, how one gets stuck, who frees it."""

from __future__ import annotations

from enum import StrEnum


class SagaState(StrEnum):
    """Stored as its lower-case name; final once landed."""

    #: A step runs or is about to. Stuck when its worker is gone; that job's rescue, then the keeper, goes on with it.
    RUNNING = "running"
    #: Nothing runs: a signal, a time, another attempt or a saga within it is waited for. Freed by that, or a time-out.
    WAITING = "waiting"
    #: What was done is being undone, the latest first.
    COMPENSATING = "compensating"
    #: Final: every step succeeded or was skipped.
    COMPLETED = "completed"
    #: Final: a step failed, and what was done before it is undone.
    COMPENSATED = "compensated"
    #: A person has to say how it goes on: a compensation gave up, a step behind the pivot failed, or nothing here can
    #: run it. Freed by an operator: retry, skip, resume, compensate, cancel.
    NEEDS_ATTENTION = "needs_attention"
    #: Final: somebody asked for it, and what was done before is undone.
    CANCELLED = "cancelled"


class StepState(StrEnum):
    """Stored as its lower-case name; final once landed. A step without a row is pending."""

    #: Its turn has not come, or has come again.
    PENDING = "pending"
    #: It is a job of its own, and that waits for a worker.
    QUEUED = "queued"
    #: A worker is in its function.
    RUNNING = "running"
    #: An attempt failed, and the next one waits for its time.
    RETRYING = "retrying"
    #: For a signal, a time, or a saga within.
    WAITING = "waiting"
    #: Its function returned; the result is kept.
    SUCCEEDED = "succeeded"
    #: Its condition said no, or an operator did.
    SKIPPED = "skipped"
    #: No attempt is left, or the error is not worth one.
    FAILED = "failed"
    #: Its compensation is a job of its own, and that waits for a worker.
    COMPENSATION_QUEUED = "compensation_queued"
    #: A worker is in its rollback.
    COMPENSATING = "compensating"
    #: An attempt to compensate failed, and the next one waits for its time.
    COMPENSATION_RETRYING = "compensation_retrying"
    #: Its rollback returned.
    COMPENSATED = "compensated"
    #: No attempt to compensate is left: the saga needs attention.
    COMPENSATION_FAILED = "compensation_failed"
    #: An operator said that there is nothing to compensate any more.
    COMPENSATION_SKIPPED = "compensation_skipped"


class StepKind(StrEnum):
    """What a step does."""

    CALL = "call"
    SIGNAL = "signal"
    TIMER = "timer"
    #: A saga of its own.
    SAGA = "saga"


FINAL = frozenset({SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.CANCELLED})
#: Nobody works at it, and nothing but a person changes that.
AT_REST = FINAL | {SagaState.NEEDS_ATTENTION}

#: A worker is in it.
IN_HAND = frozenset({StepState.RUNNING, StepState.COMPENSATING})
#: Its job waits for a worker.
IN_LINE = frozenset({StepState.QUEUED, StepState.COMPENSATION_QUEUED})
#: Forward, nothing is left to do.
DONE = frozenset({StepState.SUCCEEDED, StepState.SKIPPED})
UNDOING = frozenset(
    {
        StepState.COMPENSATION_QUEUED, StepState.COMPENSATING, StepState.COMPENSATION_RETRYING,
        StepState.COMPENSATION_FAILED,
    }
)  # fmt: skip
