"""The coordinator's decisions under random histories: each transition as the oracle says, and no promise broken.

`TASKYARD_TEST_SAGA_HISTORIES` histories, new ones each time; by default a slice of them, always the same.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import os
import uuid
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from taskyard.sagas.machine.advance import advance
from taskyard.sagas.machine.events import (
    Cancel,
    Compensate,
    Event,
    JobBegan,
    JobGone,
    Looked,
    Raised,
    Resume,
    RetryStep,
    Returned,
    RunnerGone,
    SagaEnded,
    Signalled,
    SkipStep,
    Stopped,
    Taken,
    Verb,
)
from taskyard.sagas.machine.outcome import Outcome, Prepared, Refused, Stale, StartSaga, UseLetter, WriteJob
from taskyard.sagas.machine.run import Letter, Run, StepRun
from taskyard.sagas.plan import Plan, StepPlan
from taskyard.sagas.states import AT_REST, FINAL, IN_HAND, IN_LINE, SagaState, StepKind, StepState
from tests.unit.saga_oracle import Oracle
from tests.unit.saga_promises import Effects, find_broken
from tests.unit.saga_tale import MINUTE, NOW, SECOND

HISTORIES = int(os.environ.get("TASKYARD_TEST_SAGA_HISTORIES", "0"))
ERROR = {"type": "Boom", "message": "boom"}

CALLS = [
    {},
    {"has_rollback": True},
    {"has_rollback": True},
    {"has_rollback": True, "is_prepared": True},
    {"has_rollback": True, "undoes_failed": True},
]
ROUTED = [{**each, "has_job": True} for each in CALLS]
CHILD = {"kind": StepKind.SAGA, "is_prepared": True}
WAITS = [
    {"kind": StepKind.SIGNAL},
    {"kind": StepKind.SIGNAL, "timeout": MINUTE},
    {"kind": StepKind.SIGNAL, "timeout": MINUTE, "is_optional": True, "is_prepared": True},
    {"kind": StepKind.TIMER, "timeout": MINUTE},
    {"kind": StepKind.TIMER, "is_prepared": True},
]
#: A step alone, or a group of two or three; the pivot is a call alone.
STAGES = st.one_of(
    st.sampled_from(CALLS + ROUTED + WAITS + [CHILD]).map(lambda step: [step]),
    st.lists(st.sampled_from([*ROUTED, CHILD]), min_size=2, max_size=3),
)
ANSWERS = ["yes", "yes", "yes", "no", "error"]
PICK = st.integers(0, 5)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    stages = [draw(STAGES) for _ in range(draw(st.sampled_from([1, 2, 3, 3, 4])))]
    alone = [number for number, stage in enumerate(stages) if len(stage) == 1 and "kind" not in stage[0]]
    pivot = draw(st.sampled_from([None, *alone]))
    names = iter("abcdefghijkl")
    steps = [
        StepPlan(name=next(names), group=f"g{number}" if len(stage) > 1 else "", is_pivot=number == pivot, **said)
        for number, stage in enumerate(stages)
        for said in stage
    ]
    return Plan("trip", 1, tuple(steps))


SAGA = {
    "plan": plans(),
    "minutes": st.sampled_from([None, None, 3]),
    "is_inline": st.booleans(),
    "taken_over": st.integers(0, 1),
    #: So far it comes before something happens to it.
    "turns": st.integers(0, 10),
}


class Histories(RuleBasedStateMachine):
    """A saga and the world around it; what each rule does, somebody might do at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.ids, self.letters = NOW, itertools.count(1), itertools.count(1)
        #: All news of this saga so far, and those of its workers: each may come late, or again.
        self.told: list[Event] = []
        self.is_sound = True

    def new_id(self) -> uuid.UUID:
        return uuid.UUID(int=next(self.ids))

    def new_token(self) -> str:
        return f"token {next(self.ids)}"

    @initialize(said=st.fixed_dictionaries(SAGA))
    def a_saga_begins(self, said: dict[str, Any]) -> None:
        self.begin(**said)

    @rule(said=st.fixed_dictionaries(SAGA))
    @precondition(lambda self: self.run_now.state in FINAL)
    def another_saga_begins(self, said: dict[str, Any]) -> None:
        self.effects.check(self.plan, self.run_now)
        self.begin(**said)

    def begin(self, plan: Plan, minutes: int | None, is_inline: bool, taken_over: int, turns: int) -> None:
        self.plan, self.is_inline, self.answer, self.told = plan, is_inline, "yes", []
        deadline = self.now + minutes * MINUTE if minutes else None
        # A fork takes over what another saga did.
        done = [step.name for stage in plan.stages[: taken_over if len(plan.stages) > 1 else 0] for step in stage]
        steps = {name: StepRun(name=name, state=StepState.SUCCEEDED, is_taken_over=True) for name in done}
        self.run_now = Run(runner=self.new_id(), deadline_at=deadline, due_at=self.now, steps=steps)
        self.oracle = Oracle(plan, runner=self.run_now.runner, deadline=deadline, taken_over=done)
        self.effects = Effects(taken_over=set(done))
        self.some_good_turns(turns, 0)

    # What follows from an event is asked of both.

    def tell(self, event: Event) -> None:
        self.is_sound = False
        before, said = self.run_now, dict[str, Prepared]()
        outcome, why = self._advance(event, said)
        try:
            oracle = self.oracle.after(event, self.now, said)
        except (Stale, Refused) as no:
            assert type(no) is type(why), f"{event}: {no!r} expected, not {why!r}, {outcome}"
        else:
            assert outcome is not None, f"{event}: nothing became of it: {why!r}"
            self._compare(oracle, outcome)
            self.run_now, self.oracle = outcome.run, oracle
            self.effects.note(event, before, outcome.run)
            # Whoever is in a step from now on may say so when nobody waits for it any more.
            begun = (step for step in outcome.run.steps.values() if step.state in IN_HAND and step.token)
            self.told += [
                Returned(each.name, each.token) for each in begun if each.token != before.step(each.name).token
            ]
            broken = find_broken(self.plan, before, event, outcome, self.now, said)
            assert not broken, broken
        self.is_sound = True

    def _advance(self, event: Event, said: dict[str, Prepared]) -> tuple[Outcome | None, Exception | None]:
        try:
            while True:
                outcome = advance(self.plan, self.run_now, event, self.now, said=said, new_id=self.new_id)
                if not outcome.ask:
                    return outcome, None
                said[outcome.ask] = self._prepared(self.plan.by_name[outcome.ask])
        except Stale as stale:
            return None, stale
        except Refused as refused:
            assert isinstance(event, Verb | Signalled) and str(refused), event
            return None, refused

    def _prepared(self, step: StepPlan) -> Prepared:
        if self.answer == "error":
            return Prepared(error=ERROR)
        until = self.now + MINUTE if step.kind is StepKind.TIMER else None
        return Prepared(is_wanted=self.answer == "yes", until=until, inputs={})

    def _compare(self, oracle: Oracle, outcome: Outcome) -> None:
        run, orders = outcome.run, {_brief(order) for order in outcome.orders}
        assert orders == oracle.orders, (orders, oracle.orders)
        oracle.learn(outcome.orders)
        lives = oracle.lives
        assert {step.name: run.step(step.name).state for step in self.plan.steps} == {
            name: life.state for name, life in lives.items()
        }
        assert {step.name: run.step(step.name).round for step in self.plan.steps} == {
            name: life.round for name, life in lives.items()
        }
        machines = (run.state, run.is_undoing, run.wish, run.runner, run.token, run.is_inline, run.letters)
        oracles = (oracle.state, oracle.is_back, oracle.wish, oracle.runner, oracle.token, oracle.is_inline)
        assert machines == (*oracles, tuple(oracle.letters))
        assert (outcome.call.step if outcome.call else "") == oracle.call
        assert outcome.call is None or outcome.call.token == run.token

    # What may happen.

    def steps_in(self, states: Any, *, in_place: bool | None = None) -> list[str]:
        found = [each for each in self.run_now.steps.values() if each.state in states]
        found = [each for each in found if self.plan.by_name[each.name].kind is StepKind.CALL]
        return [each.name for each in found if in_place is None or (each.job is None) == in_place]

    def news(self, event: Event) -> None:
        self.told.append(event)
        self.tell(event)

    @rule(turns=st.integers(1, 6), pick=PICK)
    @precondition(lambda self: self.run_now.state not in AT_REST)
    def all_goes_well_for_a_while(self, turns: int, pick: int) -> None:
        self.some_good_turns(turns, pick)

    @rule(turns=st.integers(1, 6), pick=PICK)
    @precondition(lambda self: self.run_now.state not in AT_REST)
    def all_goes_well_until_a_step_fails(self, turns: int, pick: int) -> None:
        self.some_good_turns(turns, pick)
        if self.steps_in(IN_HAND):
            self.a_step_raises(pick, None)

    def some_good_turns(self, turns: int, pick: int) -> None:
        for _ in range(turns):
            if self.run_now.state not in AT_REST:
                self.one_good_turn(pick)

    def one_good_turn(self, pick: int = 0) -> None:
        """What somebody will do sooner or later, where nothing goes wrong."""
        if self.steps_in(IN_HAND):
            self.a_step_returns(pick)
        elif self.steps_in(IN_LINE):
            self.a_job_begins(pick)
        elif self.run_now.runner is not None:
            self.a_worker_takes_the_saga()
        elif children := self.children():
            is_back = self.run_now.is_undoing or self.run_now.step(chosen(children, pick)).reason
            self.a_saga_within_ends(pick, SagaState.COMPENSATED if is_back else SagaState.COMPLETED)
        elif self.run_now.due_at is not None:
            self.time_passes(None)
        else:
            [name] = [each.name for each in self.run_now.steps.values() if each.state is StepState.WAITING]
            self.tell(Signalled(Letter(next(self.letters), name)))

    @rule()
    @precondition(lambda self: self.run_now.runner is not None)
    def a_worker_takes_the_saga(self) -> None:
        """Or another one, because the first is lost."""
        assert self.run_now.runner is not None
        is_inline, self.is_inline = self.is_inline, False
        self.news(Taken(self.run_now.runner, self.new_token(), is_inline=is_inline))

    @rule(pick=PICK)
    @precondition(lambda self: self.jobs())
    def a_job_begins(self, pick: int) -> None:
        """Or again, because the first attempt is lost."""
        found = self.run_now.step(chosen(self.steps_in(IN_LINE) or self.jobs(), pick))
        assert found.job is not None
        self.news(JobBegan(found.name, found.job, self.new_token()))

    def jobs(self) -> list[str]:
        return self.steps_in(IN_LINE | IN_HAND, in_place=False)

    @rule(pick=PICK)
    @precondition(lambda self: self.steps_in(IN_HAND))
    def a_step_returns(self, pick: int) -> None:
        name = chosen(self.steps_in(IN_HAND), pick)
        self.news(Returned(name, self.run_now.step(name).token, "result"))

    @rule(pick=PICK, wait=st.sampled_from([None, None, SECOND, MINUTE, dt.timedelta()]))
    @precondition(lambda self: self.steps_in(IN_HAND))
    def a_step_raises(self, pick: int, wait: dt.timedelta | None) -> None:
        name = chosen(self.steps_in(IN_HAND), pick)
        self.news(Raised(name, self.run_now.step(name).token, ERROR, wait))

    @rule(pick=PICK, state=st.sampled_from([SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.CANCELLED]))
    @precondition(lambda self: self.children())
    def a_saga_within_ends(self, pick: int, state: SagaState) -> None:
        found = self.run_now.step(chosen(self.children(), pick))
        assert found.child is not None
        self.news(SagaEnded(found.name, found.child, state, "result"))

    def children(self) -> list[str]:
        waiting = (StepState.WAITING, StepState.COMPENSATING)
        return [each.name for each in self.run_now.steps.values() if each.child is not None and each.state in waiting]

    @rule(passes=st.sampled_from([None, None, SECOND, MINUTE, 10 * MINUTE]))
    @precondition(lambda self: self.run_now.state not in FINAL)
    def time_passes(self, passes: dt.timedelta | None) -> None:
        due = self.run_now.due_at
        self.now = self.now + passes if passes is not None else max(self.now, due or self.now)
        self.tell(Looked())

    @rule(pick=PICK)
    @precondition(lambda self: any(step.kind is StepKind.SIGNAL for step in self.plan.steps))
    def a_signal_comes(self, pick: int) -> None:
        name = chosen([step.name for step in self.plan.steps if step.kind is StepKind.SIGNAL], pick)
        self.tell(Signalled(Letter(next(self.letters), name, {"said": pick})))

    @rule(pick=PICK, what=st.sampled_from(["job", "job for good", "coordinator", "coordinator for good", "definition"]))
    @precondition(lambda self: self.run_now.state not in AT_REST)
    def something_is_gone(self, pick: int, what: str) -> None:
        error = ERROR if what == "coordinator for good" else None
        if what == "definition":
            self.tell(Stopped(ERROR))
        elif what.startswith("job") and self.jobs():
            found = self.run_now.step(chosen(self.jobs(), pick))
            assert found.job is not None
            self.news(JobGone(found.name, found.job, ERROR, what == "job for good"))
        elif self.run_now.runner is not None:
            self.news(RunnerGone(self.run_now.runner, error))

    @rule(pick=st.integers(0, 50))
    @precondition(lambda self: self.told)
    def old_news_come_again(self, pick: int) -> None:
        event = chosen(self.told[::-1], pick)
        if isinstance(event, Taken | JobBegan):
            # No two attempts have the same token.
            event = dataclasses.replace(event, token=self.new_token())
        self.tell(event)

    @rule(verb=st.sampled_from([RetryStep, SkipStep, Cancel, Compensate, Resume]), pick=PICK)
    def an_operator_asks(self, verb: Any, pick: int) -> None:
        names = [*self.plan.by_name, "nowhere"]
        given = {RetryStep: (chosen(names, pick),), SkipStep: (chosen(names, pick), "by hand")}.get(verb, ())
        self.tell(verb(*given))

    @rule(verb=st.sampled_from([Resume, Resume, RetryStep, SkipStep, Compensate]), pick=PICK)
    @precondition(lambda self: self.run_now.state is SagaState.NEEDS_ATTENTION)
    def an_operator_mends_it(self, verb: Any, pick: int) -> None:
        bad = {StepState.FAILED, StepState.COMPENSATION_FAILED, StepState.RETRYING, StepState.COMPENSATION_RETRYING}
        names = self.steps_in(bad) or list(self.plan.by_name)
        given = {RetryStep: (chosen(names, pick),), SkipStep: (chosen(names, pick), "by hand")}.get(verb, ())
        self.tell(verb(*given))

    @rule(answer=st.sampled_from(ANSWERS))
    @precondition(lambda self: any(step.is_prepared for step in self.plan.steps))
    def the_projects_code_will_say(self, answer: str) -> None:
        self.answer = answer

    def teardown(self) -> None:
        if not self.is_sound or not hasattr(self, "run_now"):
            return
        self.answer = "yes"
        for _ in range(300):
            if self.run_now.state in AT_REST:
                break
            self.one_good_turn()
        assert self.run_now.state in AT_REST, "it does not come to an end though all goes well"
        if self.run_now.state in FINAL:
            self.effects.check(self.plan, self.run_now)


def chosen(those: Sequence[Any], pick: int) -> Any:
    return those[pick % len(those)]


def _brief(order: Any) -> tuple[str, str]:
    if isinstance(order, WriteJob):
        return ("undo job" if order.is_compensation else "job"), order.step
    what = "letter" if isinstance(order, UseLetter) else "saga" if isinstance(order, StartSaga) else "undo saga"
    return what, order.step


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=HISTORIES or 100, stateful_step_count=40, derandomize=not HISTORIES, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
