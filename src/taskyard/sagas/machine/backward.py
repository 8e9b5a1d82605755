"""The way back: what is compensated now, the latest stage first, and when all of it is."""

from __future__ import annotations

from taskyard.sagas.machine.outcome import UndoSaga
from taskyard.sagas.machine.working import Working
from taskyard.sagas.plan import StepPlan
from taskyard.sagas.states import UNDOING, SagaState, StepKind, StepState


def go_back(work: Working) -> None:
    """Compensate the latest stage of which something is left; all of a group together."""
    for stage in reversed(work.plan.stages):
        left = [step for step in stage if is_left(work, step)]
        if left:
            _undo(work, left)
            return
    is_cancelled = work.run.wish == SagaState.CANCELLED
    work.rest(SagaState.CANCELLED if is_cancelled else SagaState.COMPENSATED)


def is_left(work: Working, step: StepPlan) -> bool:
    """Whether something of it is to be compensated, or is being."""
    state = work.state(step)
    if state in UNDOING:
        return True
    if work.step(step.name).is_taken_over:
        return False
    if step.kind is StepKind.SAGA:
        return state is StepState.SUCCEEDED
    return step.has_rollback and (
        state is StepState.SUCCEEDED or (state is StepState.FAILED and step.undoes_failed)
    )  # fmt: skip


def _undo(work: Working, left: list[StepPlan]) -> None:
    for step in left:
        state = work.state(step)
        is_again = state is StepState.COMPENSATION_RETRYING and work.is_due(step.name)
        if is_again or state in (StepState.SUCCEEDED, StepState.FAILED):
            _undo_one(work, step)
    if all(work.state(step) is StepState.COMPENSATION_FAILED for step in left):
        work.rest(SagaState.NEEDS_ATTENTION, work.step(left[0].name).error)


def _undo_one(work: Working, step: StepPlan) -> None:
    is_within = step.kind is StepKind.SAGA
    if not is_within and not work.is_runner:
        work.needs_runner = True
        return
    if not is_within and work.call is not None:
        # One at a time in this process.
        return
    if work.state(step) is not StepState.COMPENSATION_RETRYING:
        # The policy of its compensation is another one.
        work.put(step.name, failures=0, losses=0, has_failed=work.state(step) is StepState.FAILED)
    if is_within:
        _call_back(work, step)
    else:
        work.begin(step, is_compensation=True)


def _call_back(work: Working, step: StepPlan) -> None:
    found = work.step(step.name)
    assert found.child is not None
    work.put(
        step.name, state=StepState.COMPENSATING, token="", due_at=None, compensation_started_at=work.now,
        compensation_attempt=found.compensation_attempt + 1,
    )  # fmt: skip
    work.note("compensating", step.name)
    work.orders.append(UndoSaga(step.name, found.child))
