"""A saga told as a tale: each test says what happens, and asks how it stands."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from typing import Any, Self

import pytest

from taskyard.sagas.machine.advance import advance
from taskyard.sagas.machine.events import Event, JobBegan, Looked, Raised, Returned, SagaEnded, Taken
from taskyard.sagas.machine.outcome import Outcome, Prepared, Refused, WriteJob
from taskyard.sagas.machine.run import Run
from taskyard.sagas.plan import Plan, StepPlan
from taskyard.sagas.states import IN_LINE, SagaState, StepKind

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND, MINUTE = dt.timedelta(seconds=1), dt.timedelta(minutes=1)
BOOM = {"type": "Boom", "message": "boom"}
YES = Prepared(inputs={})


def step(name: str, **said: Any) -> StepPlan:
    return StepPlan(name=name, has_rollback=said.pop("has_rollback", True), **said)


def routed(name: str, **said: Any) -> StepPlan:
    return step(name, has_job=True, **said)


def signal(name: str, **said: Any) -> StepPlan:
    return StepPlan(name=name, kind=StepKind.SIGNAL, **said)


def child(name: str, **said: Any) -> StepPlan:
    return StepPlan(name=name, kind=StepKind.SAGA, is_prepared=True, **said)


def group(*steps: StepPlan) -> list[StepPlan]:
    return [StepPlan(**{**{f: getattr(each, f) for f in StepPlan.__slots__}, "group": "all"}) for each in steps]


class Tale:
    """A saga and what happens to it, one thing after another."""

    def __init__(self, *steps: StepPlan, deadline: dt.timedelta | None = None, **said: Prepared) -> None:
        self.plan, self.said, self.now = Plan("trip", 1, steps), said, NOW
        self.ids = itertools.count(1)
        self.run = Run(runner=self.new_id(), deadline_at=NOW + deadline if deadline else None)
        self.outcome = Outcome(self.run)

    def new_id(self) -> uuid.UUID:
        return uuid.UUID(int=next(self.ids))

    def tell(self, event: Event) -> Self:
        said = {step.name: YES for step in self.plan.steps} | self.said
        self.outcome = advance(self.plan, self.run, event, self.now, said=said, new_id=self.new_id)
        self.run = self.outcome.run
        return self

    def taken(self) -> Self:
        """A worker has it, and is in the step that :attr:`call` names."""
        assert self.run.runner is not None
        return self.tell(Taken(self.run.runner, f"token {next(self.ids)}"))

    def begun(self, name: str) -> Self:
        """A worker has the job of a step."""
        job = self.run.step(name).job
        assert job is not None
        return self.tell(JobBegan(name, job, f"token {next(self.ids)}"))

    def returned(self, *names: str) -> Self:
        for name in names:
            self._comes_to(name).tell(Returned(name, self.run.step(name).token, f"result of {name}"))
        return self

    def raised(self, name: str, wait: dt.timedelta | None = None) -> Self:
        return self._comes_to(name).tell(Raised(name, self.run.step(name).token, BOOM, wait))

    def _comes_to(self, name: str) -> Self:
        if self.run.runner is not None and not self.run.token:
            self.taken()
        return self.begun(name) if self.run.step(name).state in IN_LINE else self

    def later(self, passes: dt.timedelta) -> Self:
        self.now += passes
        return self.tell(Looked())

    def ended(self, name: str, state: SagaState) -> Self:
        child = self.run.step(name).child
        assert child is not None
        return self.tell(SagaEnded(name, child, state))

    def refuses(self, event: Event) -> str:
        with pytest.raises(Refused) as refused:
            self.tell(event)
        return str(refused.value)

    @property
    def call(self) -> str:
        """What the coordinator is in, with a minus for a rollback."""
        call = self.outcome.call
        return "" if call is None else f"{'-' if call.is_compensation else ''}{call.step}"

    @property
    def jobs(self) -> list[str]:
        """Those that were just written; "" is the coordinator's."""
        found = [order for order in self.outcome.orders if isinstance(order, WriteJob)]
        return [f"{'-' if order.is_compensation else ''}{order.step}" for order in found]

    @property
    def state(self) -> str:
        return self.run.state.value

    def __getitem__(self, name: str) -> str:
        return self.run.step(name).state.value
