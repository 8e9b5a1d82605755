"""One transition of a saga: a pure function of what it is, what happened, and when."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping

from taskyard.sagas.machine.backward import go_back
from taskyard.sagas.machine.events import Event, Verb
from taskyard.sagas.machine.forward import go_forward
from taskyard.sagas.machine.happenings import take_in
from taskyard.sagas.machine.outcome import Outcome, Prepared, WriteJob
from taskyard.sagas.machine.run import Run
from taskyard.sagas.machine.verbs import obey
from taskyard.sagas.machine.working import CHECK_AFTER, Working
from taskyard.sagas.plan import Plan
from taskyard.sagas.states import AT_REST, IN_HAND, IN_LINE, SagaState, StepKind, StepState


def advance(
    plan: Plan,
    run: Run,
    event: Event,
    now: dt.datetime,
    *,
    said: Mapping[str, Prepared] | None = None,
    new_id: Callable[[], uuid.UUID] = uuid.uuid4,
) -> Outcome:
    """What a saga is after an event, and what is to be done about it.

    An outcome that asks about a step (``ask``) is not to be written: the coordinator asks the project's code and calls
    again with what that said. Raises :class:`~taskyard.sagas.machine.outcome.Stale` for news of somebody who has
    nothing to say any more, and :class:`~taskyard.sagas.machine.outcome.Refused`, with the reason, for what somebody
    may not ask for as it stands. ``new_id``: where ids of jobs and of sagas within come from.
    """
    work = Working(plan, run, now, new_id=new_id)
    work.said = said or {}
    if isinstance(event, Verb):
        obey(work, event)
    else:
        take_in(work, event)
    if work.run.state not in AT_REST:
        if not work.run.is_undoing:
            go_forward(work)
        if work.run.is_undoing and not work.ask:
            go_back(work)
    if not work.ask and work.run.state not in AT_REST:
        _hand_over(work)
    if not work.notes:
        # No revision is without a line.
        work.note("looked")
    work.set(steps=work.steps, letters=tuple(work.letters), revision=run.revision + 1)
    return Outcome(work.run, tuple(work.notes), tuple(work.orders), call=work.call, ask=work.ask)


def is_due(plan: Plan, run: Run, now: dt.datetime) -> bool:
    """Whether the time of one of its steps, or its own, has come."""
    return any(at <= now for at in _times(Working(plan, run, now, new_id=uuid.uuid4)))


def _hand_over(work: Working) -> None:
    """Who has it from now on, how it stands, and when somebody looks."""
    if work.is_runner and work.call is None:
        work.set(runner=None, token="", is_inline=False)
    if work.needs_runner and work.run.runner is None:
        job = work.new_id()
        work.set(runner=job, token="")
        work.orders.append(WriteJob(job))
    work.set(state=_standing(work), due_at=_next_look(work))


def _standing(work: Working) -> SagaState:
    if work.run.is_undoing:
        return SagaState.COMPENSATING
    is_busy = work.run.runner is not None or any(
        each.state in (StepState.RUNNING, StepState.QUEUED) for each in work.steps.values()
    )
    return SagaState.RUNNING if is_busy else SagaState.WAITING


def _next_look(work: Working) -> dt.datetime | None:
    times = _times(work)
    if work.run.runner is not None:
        # What is due is the coordinator's; it is only looked whether there is one.
        return work.now + CHECK_AFTER
    if any(_is_elsewhere(work, name) for name in work.steps):
        times.append(work.now + CHECK_AFTER)
    return min(times, default=None)


def _times(work: Working) -> list[dt.datetime]:
    times = [each.due_at for each in work.steps.values() if each.due_at is not None]
    is_turning = bool(work.run.wish) or any(each.state is StepState.FAILED for each in work.steps.values())
    is_on_its_way = not work.run.is_undoing and not is_turning and not work.is_past_pivot
    if work.run.deadline_at is not None and is_on_its_way:
        times.append(work.run.deadline_at)
    return times


def _is_elsewhere(work: Working, name: str) -> bool:
    state = work.step(name).state
    is_saga = work.of(name).kind is StepKind.SAGA
    return state in IN_HAND | IN_LINE or (is_saga and state is StepState.WAITING)
