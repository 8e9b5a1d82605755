"""What may be asked of a saga as it stands: the machine itself is asked, and nothing is written."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator

from django.http import HttpRequest
from django.utils import timezone

from taskyard.admin.pages.asking import open_verbs
from taskyard.admin.verbs import actor_of
from taskyard.errors import NotFound
from taskyard.sagas.machine.advance import advance
from taskyard.sagas.machine.events import Cancel, Compensate, Resume, RetryStep, SkipStep, Verb
from taskyard.sagas.machine.outcome import Refused
from taskyard.sagas.machine.run import Run
from taskyard.sagas.plan import Plan
from taskyard.sagas.reading.queries import SagaReading
from taskyard.sagas.states import FINAL, SagaState, StepKind, StepState
from taskyard.sagas.writing import forking, store

#: In the order of their buttons.
OF_SAGA = {
    "resume": "Resume", "compensate": "Compensate", "cancel": "Cancel", "signal": "Signal", "fork": "Fork",
}  # fmt: skip
OF_STEP = {"retry_step": "Retry", "skip_step": "Skip"}
_EVENTS: dict[str, Verb] = {"resume": Resume(), "compensate": Compensate(), "cancel": Cancel()}
#: What somebody has asked for already is not asked for again.
_WISHED = {"compensate": SagaState.COMPENSATED, "cancel": SagaState.CANCELLED}


@dataclasses.dataclass(frozen=True, slots=True)
class Offers:
    """Verbs that fit a saga as it stands, and whoever looks may use."""

    of_saga: tuple[tuple[str, str], ...] = ()
    #: By the name of the step.
    of_steps: dict[str, tuple[tuple[str, str], ...]] = dataclasses.field(default_factory=dict)


def offers(request: HttpRequest, saga: SagaReading) -> Offers:
    """What is offered on its page; somebody may be faster, and the verb itself is refused then."""
    is_open = set(open_verbs(request, "saga", [*OF_SAGA, *OF_STEP]))
    if not is_open:
        return Offers()
    try:
        row, run = store.read(saga.id, tenant=actor_of(request).tenant)
    except NotFound:
        # Deleted at this moment.
        return Offers()
    plan, now = store.plan_of(row.plan), timezone.now()
    fitting = set(_fitting(plan, run, saga=saga, now=now)) & is_open
    of_steps = {}
    for step in plan.steps:
        events: dict[str, Verb] = {"retry_step": RetryStep(step.name), "skip_step": SkipStep(step.name, "?")}
        of_steps[step.name] = tuple(
            (verb, OF_STEP[verb]) for verb, event in events.items()
            if verb in is_open and _is_accepted(plan, run, event=event, now=now)
        )  # fmt: skip
    return Offers(tuple((verb, label) for verb, label in OF_SAGA.items() if verb in fitting), of_steps)


def _fitting(plan: Plan, run: Run, *, saga: SagaReading, now: dt.datetime) -> Iterator[str]:
    for verb, event in _EVENTS.items():
        is_asked = run.wish == _WISHED.get(verb, "?") and run.state is not SagaState.NEEDS_ATTENTION
        if not is_asked and _is_accepted(plan, run, event=event, now=now):
            yield verb
    if run.state not in FINAL and any(step.kind is StepKind.SIGNAL for step in plan.steps):
        yield "signal"
    if saga.is_known and fork_places(plan, run):
        yield "fork"


def _is_accepted(plan: Plan, run: Run, *, event: Verb, now: dt.datetime) -> bool:
    try:
        advance(plan, run, event, now)
    except Refused:
        return False
    return True


def kept_by_resume(plan: Plan, run: Run) -> list[str]:
    """Steps that could not be undone, whose effects would count as standing again."""
    try:
        after = advance(plan, run, Resume(), timezone.now()).run
    except Refused:
        return []
    states = {step.name: (run.step(step.name).state, after.step(step.name).state) for step in plan.steps}
    return [name for name, (old, new) in states.items() if old is not new and new is StepState.SUCCEEDED]


def fork_places(plan: Plan, run: Run) -> list[str]:
    """Steps at which a fork of it may begin: what came before them is done, and stands."""
    return [step.name for step in plan.steps if _may_begin(plan, run, name=step.name)]


def _may_begin(plan: Plan, run: Run, *, name: str) -> bool:
    try:
        forking.taken_over(plan, run, name=name)
    except Refused:
        return False
    return True
