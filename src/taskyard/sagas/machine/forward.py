"""The way forward: which steps start now, and when there is no way forward any more."""

from __future__ import annotations

from taskyard.sagas.machine.outcome import Prepared, StartSaga, UndoSaga, UseLetter
from taskyard.sagas.machine.working import Working
from taskyard.sagas.plan import StepPlan
from taskyard.sagas.states import DONE, SagaState, StepKind, StepState


def go_forward(work: Working) -> None:
    """Start what can start; turn round where a step failed or somebody asked for it."""
    while True:
        if work.run.wish and work.is_past_pivot:
            work.note("too_late", text=work.run.wish)
            work.set(wish="", error=None)
        stage = work.stage()
        if not stage:
            _complete(work)
            return
        if not work.is_past_pivot and _has_to_stop(work, stage):
            _stop(work, stage)
            return
        if not _start(work, stage):
            _give_up(work, stage)
            return


def _complete(work: Working) -> None:
    if work.run.wish:
        # It came while the last step ran.
        _turn_round(work)
    else:
        work.rest(SagaState.COMPLETED)


def _has_to_stop(work: Working, stage: tuple[StepPlan, ...]) -> bool:
    if work.run.wish or any(work.state(step) is StepState.FAILED for step in stage):
        return True
    deadline = work.run.deadline_at
    if deadline is None or work.now < deadline:
        return False
    text = f"its deadline, {deadline.isoformat()}, has passed"
    work.set(wish="compensated", error={"type": "DeadlineExceeded", "message": text})
    work.note("deadline")
    return True


def _stop(work: Working, stage: tuple[StepPlan, ...]) -> None:
    for step in stage:
        _take_back(work, step)
    if any(_is_out(work, step) for step in stage):
        # What runs is waited for: nobody knows how far it came.
        return
    failed = next((work.step(step.name) for step in stage if work.state(step) is StepState.FAILED), None)
    if failed is not None and work.run.error is None:
        work.set(error=failed.error)
    _turn_round(work)


def _take_back(work: Working, step: StepPlan) -> None:
    """A step that is not in somebody's hands is not begun any more; one that was lost is, or what it did would stay."""
    found = work.step(step.name)
    if _is_lost(work, step):
        if found.state is StepState.RETRYING:
            _start_one(work, step)
        return
    is_new = work.withdraw(step.name)
    if _is_within(work, step) and not is_new:
        _recall(work, step)
    elif _was_begun(work, step) and found.state in (StepState.PENDING, StepState.QUEUED, StepState.RETRYING):
        # An attempt came to nothing, and nobody knows how far.
        work.fail(step.name, found.error or {"type": "WorkerLost", "message": "its worker was lost"})
    elif found.state in (StepState.QUEUED, StepState.RETRYING, StepState.WAITING):
        work.put(step.name, state=StepState.PENDING, job=None, token="", due_at=None)


def _is_out(work: Working, step: StepPlan) -> bool:
    return work.state(step) is StepState.RUNNING or _is_within(work, step) or _is_lost(work, step)


def _is_lost(work: Working, step: StepPlan) -> bool:
    found = work.step(step.name)
    is_open = found.state in (StepState.RETRYING, StepState.QUEUED)
    return is_open and found.losses > 0 and _was_begun(work, step)


def _was_begun(work: Working, step: StepPlan) -> bool:
    return step.kind is StepKind.CALL and work.step(step.name).started_at is not None


def _is_within(work: Working, step: StepPlan) -> bool:
    return step.kind is StepKind.SAGA and work.state(step) is StepState.WAITING


def _recall(work: Working, step: StepPlan) -> None:
    """Ask the saga within to come back; once: it may be past its own pivot, and is waited for then."""
    found = work.step(step.name)
    if found.child is not None and not found.reason:
        work.put(step.name, reason="recalled")
        work.orders.append(UndoSaga(step.name, found.child))


def _turn_round(work: Working) -> None:
    work.set(is_undoing=True)
    work.note("turned_round", text=work.run.wish)


def _give_up(work: Working, stage: tuple[StepPlan, ...]) -> None:
    """Behind the pivot the others of a group go on; when nobody is at any of them, a person has to say how."""
    failed = [work.step(step.name) for step in stage if work.state(step) is StepState.FAILED]
    if failed and all(work.state(step) in DONE | {StepState.FAILED} for step in stage):
        work.rest(SagaState.NEEDS_ATTENTION, failed[0].error)


def _start(work: Working, stage: tuple[StepPlan, ...]) -> bool:
    """Start what can; True if a step is done thereby, and others may start."""
    for step in stage:
        state = work.state(step)
        if state is StepState.WAITING:
            _look_at_waiting(work, step)
        elif state is StepState.PENDING or (state is StepState.RETRYING and work.is_due(step.name)):
            _start_one(work, step)
        if work.ask:
            return False
        if work.state(step) is StepState.FAILED and not work.is_past_pivot:
            return True
    return all(work.state(step) in DONE for step in stage)


def _start_one(work: Working, step: StepPlan) -> None:
    if not work.is_runner:
        work.needs_runner = True
        return
    if work.call is not None:
        # One at a time in this process; the others when that has returned.
        return
    said = work.said.get(step.name)
    if step.is_prepared and said is None and work.state(step) is StepState.PENDING:
        work.ask = step.name
    elif said is not None and said.error is not None:
        work.fail(step.name, said.error)
    elif said is not None and not said.is_wanted:
        work.put(step.name, state=StepState.SKIPPED, finished_at=work.now)
        work.note("skipped", step.name)
    elif step.kind is StepKind.CALL:
        work.begin(step, is_compensation=False)
    else:
        _wait(work, step, said or Prepared())


def _wait(work: Working, step: StepPlan, said: Prepared) -> None:
    found = work.step(step.name)
    work.put(step.name, state=StepState.WAITING, attempt=found.attempt + 1, started_at=work.now, finished_at=None)
    work.note("waiting", step.name)
    if step.kind is StepKind.SAGA:
        child = work.new_id()
        work.put(step.name, child=child, reason="")
        work.orders.append(StartSaga(step.name, child, said.inputs or {}))
        return
    work.put(step.name, due_at=said.until or (work.now + step.timeout if step.timeout else None))
    _look_at_waiting(work, step)


def _look_at_waiting(work: Working, step: StepPlan) -> None:
    is_due = work.is_due(step.name)
    letter = next((each for each in work.letters if each.name == step.name), None)
    if step.kind is StepKind.SIGNAL and letter is not None:
        work.letters.remove(letter)
        work.orders.append(UseLetter(letter.id, step.name))
        work.succeed(step.name, letter.payload)
    elif step.kind is StepKind.SIGNAL and is_due and not step.is_optional:
        text = f"no signal {step.name!r} came in time"
        work.fail(step.name, {"type": "SignalTimedOut", "message": text})
    elif step.kind is not StepKind.SAGA and is_due:
        work.succeed(step.name, None)
