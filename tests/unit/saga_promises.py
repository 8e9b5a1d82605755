"""What holds of every transition of a saga, whatever happened: looked for by itself, without a model of the whole."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping

from taskyard.sagas.machine.events import Event, Resume, Returned, SagaEnded, SkipStep, Verb
from taskyard.sagas.machine.outcome import Outcome, Prepared, UndoSaga, UseLetter, WriteJob
from taskyard.sagas.machine.run import Run, StepRun
from taskyard.sagas.plan import Plan, StepPlan
from taskyard.sagas.states import AT_REST, DONE, FINAL, IN_HAND, IN_LINE, UNDOING, SagaState, StepKind, StepState

_BEGUN = {StepState.QUEUED, StepState.RUNNING, StepState.WAITING}
_NEVER_UNDONE = {StepState.SKIPPED, StepState.COMPENSATED, StepState.COMPENSATION_SKIPPED}
_UNDO_BEGUN = {StepState.COMPENSATION_QUEUED, StepState.COMPENSATING}


def find_broken(
    plan: Plan, before: Run, event: Event, outcome: Outcome, now: dt.datetime, said: Mapping[str, Prepared]
) -> list[str]:
    """The promises that this transition breaks."""
    after = outcome.run
    return [
        *_counting(before, after, event, outcome),
        *_hands(plan, after),
        *_way_on(plan, after, now),
        *_order(plan, before, after, outcome),
        *_orders(before, outcome),
        *_skipped(before, after, event, said),
        *_ends(plan, after),
    ]


def _counting(before: Run, after: Run, event: Event, outcome: Outcome) -> Iterator[str]:
    if after.revision != before.revision + 1:
        yield "the revision moves by exactly one"
    if isinstance(event, Verb) and not outcome.notes:
        yield "what somebody asked for is in the history"
    for name, step in after.steps.items():
        old = before.step(name)
        if min(step.attempt - old.attempt, step.compensation_attempt - old.compensation_attempt) < 0:
            yield f"attempts of {name} only grow"
        is_anew = old.state is StepState.COMPENSATED and step.state is not StepState.COMPENSATED
        if step.round != old.round + is_anew:
            yield f"{name} has another idempotency key exactly when it is done again after it was undone"


def _hands(plan: Plan, after: Run) -> Iterator[str]:
    held = [step for step in after.steps.values() if step.state in IN_HAND and _is_call(plan, step)]
    in_place = [step for step in held if step.job is None]
    if [step.token for step in in_place] != ([after.token] if after.token else []):
        yield "whoever has the saga in hand is in exactly one step"
    tokens = [step.token for step in held]
    if "" in tokens or len(set(tokens)) != len(tokens):
        yield "a step in hand is one holder's"
    if after.token and after.runner is None:
        yield "a token is a runner's"


def _is_call(plan: Plan, step: StepRun) -> bool:
    return plan.by_name[step.name].kind is StepKind.CALL


def _way_on(plan: Plan, after: Run, now: dt.datetime) -> Iterator[str]:
    busy = [step.name for step in after.steps.values() if step.state in IN_HAND | IN_LINE]
    waiting = [plan.by_name[step.name] for step in after.steps.values() if step.state is StepState.WAITING]
    if after.state in AT_REST:
        if after.runner or after.token or after.due_at or (after.state in FINAL and (busy or waiting)):
            yield "at rest nobody is expected to do anything"
        return
    children = [step.name for step in waiting if step.kind is StepKind.SAGA]
    if (busy or children or after.runner) and after.due_at is None:
        yield "where somebody is at it, it is looked whether they are"
    patient = [step for step in waiting if step.kind is StepKind.SIGNAL and step.timeout is None]
    if not (busy or children or after.runner or after.due_at or patient):
        yield "nobody goes on with it: it is forgotten"
    if after.due_at is not None and after.due_at <= now:
        yield "what is due is done, not looked at again and again"
    times = [step.due_at for step in after.steps.values() if step.due_at is not None]
    if after.runner is None and times and (after.due_at is None or after.due_at > min(times)):
        yield "it is looked at when the first time comes"


def _order(plan: Plan, before: Run, after: Run, outcome: Outcome) -> Iterator[str]:
    asked = {order.step for order in outcome.orders if isinstance(order, UndoSaga)}
    for number, stage in enumerate(plan.stages):
        for step in stage:
            state, old = after.step(step.name).state, before.step(step.name).state
            earlier = [each for some in plan.stages[:number] for each in some]
            later = [each for some in plan.stages[number + 1 :] for each in some]
            is_begun = state in _BEGUN and state is not old
            if is_begun and any(after.step(each.name).state not in DONE for each in earlier):
                yield f"{step.name} begins before all before it is done"
            is_undone = state in _UNDO_BEGUN and old not in UNDOING
            if is_undone and (old in _NEVER_UNDONE or not (_stands(step, StepState.SUCCEEDED) or step.undoes_failed)):
                yield f"{step.name} is undone, and did nothing"
            if state in _UNDO_BEGUN and state is not old and any(_is_left(after, each) for each in later):
                yield f"{step.name} is undone before what came after it"
            if is_undone and before.step(step.name).is_taken_over:
                yield f"{step.name} is undone, and is another saga's"
            if is_undone and old is StepState.FAILED and not step.undoes_failed:
                yield f"{step.name} is undone, and failed"
            if (is_undone or step.name in asked) and _is_past_pivot(plan, before):
                yield f"{step.name} is undone behind the pivot"


def _stands(step: StepPlan, state: StepState) -> bool:
    if state is StepState.SUCCEEDED:
        return step.has_rollback or step.kind is StepKind.SAGA
    return state is StepState.FAILED and step.undoes_failed


def _is_left(run: Run, step: StepPlan) -> bool:
    found = run.step(step.name)
    return found.state in UNDOING or (_stands(step, found.state) and not found.is_taken_over)


def _is_past_pivot(plan: Plan, run: Run) -> bool:
    return plan.pivot is not None and run.step(plan.pivot.name).state is StepState.SUCCEEDED


def _orders(before: Run, outcome: Outcome) -> Iterator[str]:
    after = outcome.run
    jobs = {order.step: order for order in outcome.orders if isinstance(order, WriteJob)}
    if len(jobs) != sum(isinstance(order, WriteJob) for order in outcome.orders):
        yield "one job each"
    for name, step in after.steps.items():
        is_new = step.state in IN_LINE and step.job != before.step(name).job
        is_back = step.state is StepState.COMPENSATION_QUEUED
        if is_new != (name in jobs) or (is_new and (jobs[name].job, jobs[name].is_compensation) != (step.job, is_back)):
            yield f"the job of {name} is the one that is written"
    is_sent_for = after.runner is not None and after.runner != before.runner
    if is_sent_for != ("" in jobs) or (is_sent_for and jobs[""].job != after.runner):
        yield "the coordinator is the job that is written"
    used = [order.letter for order in outcome.orders if isinstance(order, UseLetter)]
    if len(set(used)) != len(used) or set(used) & {letter.id for letter in after.letters}:
        yield "a signal is used once"


def _skipped(before: Run, after: Run, event: Event, said: Mapping[str, Prepared]) -> Iterator[str]:
    for name, step in after.steps.items():
        if step.state is before.step(name).state:
            continue
        is_asked = isinstance(event, SkipStep) and event.step == name and step.reason == event.reason
        is_unwanted = name in said and not said[name].is_wanted
        if step.state is StepState.COMPENSATION_SKIPPED and not is_asked:
            yield f"nobody said that the compensation of {name} is to be skipped"
        if step.state is StepState.SKIPPED and not (is_asked or is_unwanted):
            yield f"nobody said that {name} is to be skipped"


def _ends(plan: Plan, after: Run) -> Iterator[str]:
    states = {step.name: after.step(step.name).state for step in plan.steps}
    if after.state is SagaState.COMPLETED and not all(state in DONE for state in states.values()):
        yield "what has completed is done"
    is_back = after.state in (SagaState.COMPENSATED, SagaState.CANCELLED)
    if is_back and any(_is_left(after, step) for step in plan.steps):
        yield "what is undone is undone all"
    if after.state is SagaState.NEEDS_ATTENTION and not after.stuck:
        yield "what needs attention says why"
    if after.state not in AT_REST and after.stuck:
        yield "what goes on is not stuck"
    if after.state is SagaState.COMPLETED and after.error:
        yield "what has completed has no error"


@dataclasses.dataclass
class Effects:
    """What the steps did in the world, by what they told: that of a saga that was undone is undone."""

    taken_over: set[str]
    standing: set[str] = dataclasses.field(default_factory=set)
    #: Of these a person said that they need not be undone.
    waived: set[str] = dataclasses.field(default_factory=set)

    def note(self, event: Event, before: Run, after: Run) -> None:
        if isinstance(event, Returned):
            if before.step(event.step).state is StepState.RUNNING:
                self.standing.add(event.step)
            else:
                self.standing.discard(event.step)
        elif isinstance(event, SagaEnded):
            state = after.step(event.step).state
            if event.state is SagaState.COMPLETED and state is not StepState.COMPENSATION_FAILED:
                self.standing.add(event.step)
            elif event.state is not SagaState.COMPLETED:
                self.standing.discard(event.step)
        elif isinstance(event, SkipStep):
            self.waived.add(event.step)
        elif isinstance(event, Resume):
            self.waived.clear()

    def check(self, plan: Plan, run: Run) -> None:
        undoable = {step.name for step in plan.steps if step.has_rollback or step.kind is StepKind.SAGA}
        if run.state is not SagaState.COMPLETED:
            left = (self.standing & undoable) - self.waived
            assert not left, f"{left} stand"
            return
        skipped = {each.name for each in run.steps.values() if each.state is StepState.SKIPPED}
        calls = {step.name for step in plan.steps if step.kind in (StepKind.CALL, StepKind.SAGA)}
        not_done = calls - skipped - self.standing - self.taken_over
        assert not not_done, f"{not_done} were not done"
