"""What happens to a saga by itself: its jobs begin and end, signals come, time passes."""

from __future__ import annotations

from taskyard.sagas.machine.events import (
    Happening,
    JobBegan,
    JobGone,
    Looked,
    Raised,
    Returned,
    RunnerGone,
    SagaEnded,
    Signalled,
    Stopped,
    Taken,
)  # fmt: skip
from taskyard.sagas.machine.outcome import Refused, Stale
from taskyard.sagas.machine.working import Working
from taskyard.sagas.states import AT_REST, FINAL, IN_HAND, IN_LINE, UNDOING, SagaState, StepKind, StepState


def take_in(work: Working, event: Happening) -> None:
    """What the event changes by itself, before it is decided what follows."""
    match event:
        case Taken():
            _taken(work, event)
        case JobBegan():
            _job_began(work, event)
        case Returned():
            _returned(work, event)
        case Raised():
            _raised(work, event)
        case JobGone():
            _job_gone(work, event)
        case RunnerGone():
            _runner_gone(work, event)
        case Signalled():
            _signalled(work, event)
        case SagaEnded():
            _saga_ended(work, event)
        case Stopped():
            _stopped(work, event)
        case Looked():
            pass


def _taken(work: Working, event: Taken) -> None:
    if work.run.state in AT_REST or work.run.runner != event.runner:
        raise Stale
    _lose_what_ran_in_place(work)
    work.set(token=event.token, is_inline=event.is_inline)
    work.is_runner = True
    work.note("taken")


def _lose_what_ran_in_place(work: Working) -> bool:
    """Whether there was something: whoever had the saga in hand was in a step."""
    lost = [
        name
        for name, found in work.steps.items()
        if found.state in IN_HAND and found.job is None and work.of(name).kind is StepKind.CALL
    ]
    for name in lost:
        work.lose(name)
    return bool(lost)


def _job_began(work: Working, event: JobBegan) -> None:
    found = work.step(event.step)
    if found.job != event.job or found.state not in IN_LINE | IN_HAND:
        raise Stale
    if found.state in IN_HAND:
        # An attempt of the same job before this one.
        work.lose(event.step)
    if work.step(event.step).state not in (StepState.FAILED, StepState.COMPENSATION_FAILED):
        work.enter(event.step, event.token, is_compensation=found.state in UNDOING, job=event.job)


def _returned(work: Working, event: Returned) -> None:
    found = work.held(event.step, event.token)
    if found.state is StepState.RUNNING:
        work.succeed(event.step, event.result)
    else:
        work.undone(event.step)


def _raised(work: Working, event: Raised) -> None:
    work.held(event.step, event.token)
    work.put(event.step, losses=0, failures=work.step(event.step).failures + 1)
    if event.wait is None:
        work.fail(event.step, event.error)
        return
    work.put(event.step, error=event.error)
    work.note("retrying", event.step, text=str(event.error.get("type", "")))
    work.again(event.step, work.now + event.wait)


def _job_gone(work: Working, event: JobGone) -> None:
    found = work.step(event.step)
    if found.job != event.job or found.state not in IN_LINE | IN_HAND:
        raise Stale
    if event.is_final:
        work.fail(event.step, event.error)
    else:
        work.lose(event.step, event.error)


def _runner_gone(work: Working, event: RunnerGone) -> None:
    if work.run.state in AT_REST or work.run.runner != event.runner:
        raise Stale
    was_in_step = _lose_what_ran_in_place(work)
    work.set(runner=None, token="", is_inline=False)
    work.note("coordinator_lost")
    work.needs_runner = True
    if event.error is not None and not was_in_step:
        work.rest(SagaState.NEEDS_ATTENTION, event.error)


def _signalled(work: Working, event: Signalled) -> None:
    if work.run.state in FINAL:
        raise Refused(f"it is {work.run.state}")
    work.letters.append(event.letter)
    work.note("signalled", text=event.letter.name)


def _saga_ended(work: Working, event: SagaEnded) -> None:
    found = work.step(event.step)
    if found.child != event.child:
        raise Stale
    if found.state is StepState.COMPENSATING:
        if event.state in (SagaState.COMPENSATED, SagaState.CANCELLED):
            work.undone(event.step)
        else:
            work.fail(event.step, event.error or {"type": "NotCompensated", "message": f"it is {event.state}"})
    elif found.state is not StepState.WAITING:
        raise Stale
    elif event.state is SagaState.COMPLETED:
        work.succeed(event.step, event.result)
    else:
        work.fail(event.step, event.error or {"type": "SagaFailed", "message": f"it is {event.state}"})


def _stopped(work: Working, event: Stopped) -> None:
    if work.run.state in AT_REST:
        raise Stale
    _lose_what_ran_in_place(work)
    work.rest(SagaState.NEEDS_ATTENTION, event.error)
