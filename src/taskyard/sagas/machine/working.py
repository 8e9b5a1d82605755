"""A saga while a transition is being decided."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from taskyard.sagas.machine.outcome import Call, Note, Order, Prepared, Refused, Stale, StartSaga, WriteJob
from taskyard.sagas.machine.run import Error, Letter, Run, StepRun
from taskyard.sagas.plan import Plan, StepPlan
from taskyard.sagas.states import DONE, IN_HAND, UNDOING, SagaState, StepKind, StepState

#: Workers lost in a step, one after another, before it counts as failed.
MOST_LOSSES = 3
#: How long a saga may look busy before somebody makes sure that it is.
CHECK_AFTER = dt.timedelta(seconds=30)


class Working:
    """Changed in place, and thrown away; only :func:`taskyard.sagas.machine.advance.advance` makes one."""

    def __init__(self, plan: Plan, run: Run, now: dt.datetime, *, new_id: Callable[[], uuid.UUID]) -> None:
        self.plan, self.run, self.now, self.new_id = plan, run, now, new_id
        self.steps: dict[str, StepRun] = dict(run.steps)
        self.letters: list[Letter] = list(run.letters)
        self.notes: list[Note] = []
        self.orders: list[Order] = []
        self.said: Mapping[str, Prepared] = {}
        self.call: Call | None = None
        self.ask = ""
        #: The event is the coordinator's own.
        self.is_runner = False
        #: There is something that only a coordinator does.
        self.needs_runner = False

    def step(self, name: str) -> StepRun:
        """How far a step is."""
        return self.steps.get(name) or StepRun(name=name)

    def state(self, step: StepPlan) -> StepState:
        """The state of a step."""
        return self.step(step.name).state

    def is_due(self, name: str) -> bool:
        """Whether the time that a step waits for has come."""
        due_at = self.step(name).due_at
        return due_at is not None and due_at <= self.now

    def put(self, name: str, **changes: Any) -> StepRun:
        """Change a step."""
        self.steps[name] = dataclasses.replace(self.step(name), **changes)
        return self.steps[name]

    def set(self, **changes: Any) -> None:
        """Change the saga itself."""
        self.run = dataclasses.replace(self.run, **changes)

    def note(self, what: str, step: str = "", *, text: str = "") -> None:
        """A line of its history."""
        self.notes.append(Note(what, step, text))

    def of(self, name: str) -> StepPlan:
        """What the definition says of a step; :class:`Refused` for one that it does not have."""
        found = self.plan.by_name.get(name)
        if found is None:
            raise Refused(f"it has no step {name!r}: {', '.join(self.plan.by_name)}")
        return found

    def withdraw(self, name: str) -> bool:
        """Write no job and no saga of a step after all; whether this transition was about to."""
        kept = [each for each in self.orders if not (isinstance(each, WriteJob | StartSaga) and each.step == name)]
        is_new, self.orders = len(kept) < len(self.orders), kept
        return is_new

    @property
    def is_past_pivot(self) -> bool:
        """Whether only forward recovery is allowed: the pivot succeeded, or its turn came and somebody skipped it."""
        if self.plan.pivot is None:
            return False
        pivot = self.step(self.plan.pivot.name)
        if pivot.state is not StepState.SKIPPED or not pivot.reason:
            return pivot.state is StepState.SUCCEEDED
        return all(self.state(step) in DONE for step in takewhile(lambda step: not step.is_pivot, self.plan.steps))

    def stage(self) -> tuple[StepPlan, ...]:
        """The steps whose turn it is, going forward; empty: there are none left."""
        return next((stage for stage in self.plan.stages if any(self.state(step) not in DONE for step in stage)), ())

    def is_in_place(self, step: StepPlan) -> bool:
        """Whether the coordinator's own process runs it."""
        return step.kind is StepKind.CALL and (self.run.is_inline or not step.has_job)

    def held(self, name: str, token: str) -> StepRun:
        """A step that whoever has this token is in; :class:`Stale` if somebody else is, or nobody."""
        found = self.step(name)
        if found.state not in IN_HAND or found.token != token:
            raise Stale
        self.is_runner = bool(self.run.token) and self.run.token == token
        return found

    def begin(self, step: StepPlan, *, is_compensation: bool) -> None:
        """Put a call, or its compensation, into somebody's hands: this process's, or a job's."""
        if self.is_in_place(step):
            self.enter(step.name, self.run.token, is_compensation=is_compensation, job=None)
            self.call = Call(step.name, self.run.token, is_compensation)
            return
        job = self.new_id()
        state = StepState.COMPENSATION_QUEUED if is_compensation else StepState.QUEUED
        self.put(step.name, state=state, job=job, token="", due_at=None)
        self.orders.append(WriteJob(job, step.name, is_compensation))

    def enter(self, name: str, token: str, *, is_compensation: bool, job: uuid.UUID | None) -> None:
        """Somebody has begun it, in place or as its job."""
        found = self.step(name)
        if is_compensation:
            self.put(
                name, state=StepState.COMPENSATING, token=token, job=job, due_at=None,
                compensation_attempt=found.compensation_attempt + 1,
                compensation_started_at=found.compensation_started_at or self.now, compensation_finished_at=None,
            )  # fmt: skip
            self.note("compensating", name)
            return
        self.put(
            name, state=StepState.RUNNING, token=token, job=job, due_at=None, attempt=found.attempt + 1,
            started_at=found.started_at or self.now, finished_at=None,
        )  # fmt: skip
        self.note("started", name)

    def lose(self, name: str, error: Error | None = None) -> None:
        """Whoever was in a step is gone: it is tried again, a few times."""
        found = self.step(name)
        losses = found.losses + 1
        self.put(name, losses=losses, token="", job=None)
        self.note("lost", name)
        if losses >= MOST_LOSSES:
            text = f"{losses} workers were lost in it, one after another"
            self.fail(name, error or {"type": "WorkerLost", "message": text})
        else:
            self.again(name, self.now)

    def again(self, name: str, due_at: dt.datetime) -> None:
        """Another attempt, from then on."""
        is_compensation = self.step(name).state in UNDOING
        state = StepState.COMPENSATION_RETRYING if is_compensation else StepState.RETRYING
        self.put(name, state=state, due_at=due_at, token="", job=None)

    def fail(self, name: str, error: Error) -> None:
        """No other attempt of the step, or of its compensation."""
        if self.step(name).state in UNDOING:
            self.put(
                name, state=StepState.COMPENSATION_FAILED, error=error, token="", job=None, due_at=None,
                compensation_finished_at=self.now,
            )  # fmt: skip
            self.note("compensation_failed", name, text=str(error.get("type", "")))
            return
        self.put(
            name, state=StepState.FAILED, error=error, token="", job=None, due_at=None, finished_at=self.now
        )  # fmt: skip
        self.note("failed", name, text=str(error.get("type", "")))

    def succeed(self, name: str, result: Any) -> None:
        """Its function returned, or what it waited for came."""
        self.put(
            name, state=StepState.SUCCEEDED, result=result, finished_at=self.now, token="", due_at=None, losses=0,
            error=None,
        )  # fmt: skip
        self.note("succeeded", name)

    def undone(self, name: str) -> None:
        """Its rollback returned."""
        self.put(name, state=StepState.COMPENSATED, compensation_finished_at=self.now, token="", due_at=None, losses=0)
        self.note("compensated", name)

    def rest(self, state: SagaState, stuck: Error | None = None) -> None:
        """Nobody works at it any more."""
        self.set(state=state, runner=None, token="", is_inline=False, due_at=None, stuck=stuck)
        self.note(state.value, text=str(stuck.get("type", "")) if stuck else "")
