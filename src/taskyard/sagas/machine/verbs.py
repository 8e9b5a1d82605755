"""What people ask of a saga: each verb says yes and changes it, or says why not."""

from __future__ import annotations

from taskyard.sagas.machine.events import Cancel, Compensate, Resume, RetryStep, SkipStep, Verb
from taskyard.sagas.machine.outcome import Refused
from taskyard.sagas.machine.run import StepRun
from taskyard.sagas.machine.working import Working
from taskyard.sagas.states import FINAL, IN_HAND, SagaState, StepKind, StepState

_RETRIED = (StepState.RETRYING, StepState.COMPENSATION_RETRYING)
_UNDO = (StepState.COMPENSATION_QUEUED, StepState.COMPENSATION_RETRYING, StepState.COMPENSATION_FAILED)


def obey(work: Working, event: Verb) -> None:
    """Do what a verb says; :class:`~taskyard.sagas.machine.outcome.Refused` if it cannot be done as it stands."""
    match event:
        case Cancel():
            _wish(work, SagaState.CANCELLED, event)
        case Compensate():
            _wish(work, SagaState.COMPENSATED, event)
        case RetryStep(name):
            _retry(work, name)
        case SkipStep(name, reason):
            _skip(work, name, reason)
        case Resume():
            _resume(work)
    # It is somebody's again; whose, is said when it is handed over.
    work.set(state=SagaState.RUNNING, stuck=None)


def _wish(work: Working, wish: SagaState, event: Cancel | Compensate) -> None:
    state = work.run.state
    if state in FINAL and not (wish is SagaState.COMPENSATED and state is SagaState.COMPLETED):
        raise Refused(f"it is {state}")
    if work.run.is_undoing:
        _go_on_back(work, wish)
    elif work.is_past_pivot:
        assert work.plan.pivot is not None
        raise Refused(f"it is past {work.plan.pivot.name!r}, behind which there is no way back")
    else:
        work.set(wish=wish.value, error=work.run.error or event.error)
    work.note("asked_back", text=wish.value)


def _go_on_back(work: Working, wish: SagaState) -> None:
    if work.run.state is not SagaState.NEEDS_ATTENTION:
        raise Refused("it is being compensated")
    work.set(wish=work.run.wish or wish.value)
    for name, found in list(work.steps.items()):
        if found.state is StepState.COMPENSATION_FAILED:
            _compensate_again(work, name)


def _compensate_again(work: Working, name: str) -> None:
    work.put(name, state=StepState.COMPENSATION_RETRYING, due_at=work.now, losses=0, failures=0)


def _retry(work: Working, name: str) -> None:
    work.of(name)
    found = work.step(name)
    if found.state in _RETRIED:
        work.put(name, due_at=work.now)
    elif found.state is StepState.COMPENSATION_FAILED:
        _compensate_again(work, name)
    elif found.state is not StepState.FAILED:
        raise Refused(f"step {name!r} is {found.state}, and only what failed or waits for another attempt is retried")
    elif work.run.state is not SagaState.NEEDS_ATTENTION or work.run.is_undoing:
        raise Refused(f"step {name!r} failed, and the saga, which is {work.run.state}, went on from that")
    else:
        work.put(name, state=StepState.PENDING, losses=0, failures=0)
    work.note("asked_to_retry", name)


def _skip(work: Working, name: str, reason: str) -> None:
    step, found = work.of(name), work.step(name)
    if work.run.state in FINAL:
        raise Refused(f"it is {work.run.state}")
    if step.kind is StepKind.SAGA and found.state in (StepState.WAITING, StepState.COMPENSATING):
        raise Refused(f"step {name!r} is the saga {found.child}: mend or cancel that")
    if found.state in IN_HAND:
        raise Refused(f"a worker is in step {name!r} at this moment")
    if found.state in _UNDO:
        work.put(
            name, state=StepState.COMPENSATION_SKIPPED, reason=reason, job=None, due_at=None,
            compensation_finished_at=work.now,
        )  # fmt: skip
    elif work.run.is_undoing or found.state in (StepState.SUCCEEDED, StepState.SKIPPED):
        raise Refused(f"step {name!r} is {found.state}")
    else:
        work.put(name, state=StepState.SKIPPED, reason=reason, job=None, due_at=None, finished_at=work.now)
    work.note("asked_to_skip", name, text=reason)


def _resume(work: Working) -> None:
    if work.run.state is not SagaState.NEEDS_ATTENTION:
        raise Refused(f"it is {work.run.state}, and only what needs attention is resumed")
    for name, found in work.steps.items():
        if found.state is StepState.COMPENSATING:
            raise Refused(f"step {name!r} is being compensated at this moment: have all of it compensated, or wait")
    for name, found in list(work.steps.items()):
        if found.state is StepState.COMPENSATED:
            # As if it had never been begun, but for what only grows.
            work.steps[name] = StepRun(
                name=name, attempt=found.attempt, compensation_attempt=found.compensation_attempt, round=found.round + 1
            )
        elif found.state in (*_UNDO, StepState.COMPENSATION_SKIPPED) and not found.has_failed:
            # Its effect stands.
            work.put(name, state=StepState.SUCCEEDED, job=None, due_at=None, error=None, reason="")
        elif found.state in (*_UNDO, StepState.COMPENSATION_SKIPPED, StepState.FAILED):
            work.put(name, state=StepState.PENDING, job=None, due_at=None, losses=0, failures=0)
    deadline = work.run.deadline_at
    if deadline is not None and deadline <= work.now:
        # Else it would turn round at once.
        work.set(deadline_at=None)
    work.set(is_undoing=False, wish="", error=None)
    work.note("asked_to_resume")
