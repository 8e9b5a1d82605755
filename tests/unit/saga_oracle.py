"""What a saga is after each event, as decision 25 promises it: a small model to hold the coordinator against.

It is written from the words, not from the machine: no history, no results, no records of times. It knows by tokens and
ids whose news count.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping

from taskyard.sagas.machine import events as happened
from taskyard.sagas.machine.outcome import Order, Prepared, Refused, Stale, StartSaga, WriteJob
from taskyard.sagas.machine.run import Letter
from taskyard.sagas.plan import Plan, StepPlan
from taskyard.sagas.states import AT_REST, DONE, FINAL, IN_HAND, IN_LINE, StepKind
from taskyard.sagas.states import SagaState as G
from taskyard.sagas.states import StepState as S

#: Its compensation is not over, and no worker is in it.
HALF_BACK = {S.COMPENSATION_QUEUED, S.COMPENSATION_RETRYING, S.COMPENSATION_FAILED}
#: So many workers are lost in a step before it counts as failed.
LOSSES = 3


@dataclasses.dataclass
class Life:
    """One step."""

    state: S = S.PENDING
    token: str = ""
    job: uuid.UUID | None = None
    child: uuid.UUID | None = None
    due: dt.datetime | None = None
    losses: int = 0
    round: int = 1
    #: Its function was called in this round: nobody knows how far it came.
    is_begun: bool = False
    #: What is undone is what it may have done before it failed.
    has_failed: bool = False
    is_recalled: bool = False
    #: A person said that it need not be done.
    is_waived: bool = False

    @property
    def is_lost(self) -> bool:
        """It may have done all of it: it is done again, to be undone then."""
        return self.is_begun and self.losses > 0 and self.state in {S.RETRYING, S.QUEUED}

    def enter(self, state: S, token: str, job: uuid.UUID | None) -> None:
        """Somebody has it in hand."""
        self.state, self.token, self.job, self.due, self.is_begun = state, token, job, None, True


class Oracle:
    """A saga; :meth:`after` is the same one after an event."""

    #: Of the event: when it came, and what the project's code said of steps.
    now: dt.datetime
    said: Mapping[str, Prepared]
    #: Whoever tells is the coordinator; else one has to be sent for if there is something only it does.
    is_here, is_wanted, call = False, False, ""

    def __init__(
        self, plan: Plan, *, runner: uuid.UUID | None, deadline: dt.datetime | None, taken_over: Collection[str] = ()
    ) -> None:
        self.plan, self.runner, self.deadline, self.taken_over = plan, runner, deadline, taken_over
        self.state, self.is_back, self.wish, self.token, self.is_inline = G.RUNNING, False, "", "", False
        self.letters: list[Letter] = []
        self.lives = {each.name: Life(S.SUCCEEDED if each.name in taken_over else S.PENDING) for each in plan.steps}
        #: (what, step): "job", "undo job", "saga", "undo saga", "letter".
        self.orders: set[tuple[str, str]] = set()

    def after(self, event: happened.Event, now: dt.datetime, said: Mapping[str, Prepared]) -> Oracle:
        """Raises Stale and Refused as :func:`taskyard.sagas.machine.advance.advance` does."""
        new = copy.copy(self)
        new.now, new.said, new.letters, new.orders = now, said, list(self.letters), set()
        new.is_here, new.is_wanted, new.call = False, False, ""
        new.lives = {name: dataclasses.replace(life) for name, life in self.lives.items()}
        getattr(new, f"_{type(event).__name__.lower()}")(event)
        new._follow()
        return new

    def learn(self, orders: Iterable[Order]) -> None:
        """Which ids what it ordered has."""
        for order in orders:
            if isinstance(order, WriteJob) and order.step:
                self.lives[order.step].job = order.job
            elif isinstance(order, WriteJob):
                self.runner = order.job
            elif isinstance(order, StartSaga):
                self.lives[order.step].child = order.child

    def _follow(self) -> None:
        while self.state not in AT_REST and not self.is_back and self._goes_forward():
            pass
        if self.state not in AT_REST and self.is_back:
            self._go_back()
        if self.state in AT_REST or (self.is_here and not self.call):
            self.runner, self.token, self.is_inline = None, "", False
        if self.state in AT_REST:
            return
        if self.is_wanted and self.runner is None:
            self.orders.add(("job", ""))
        is_busy = self.runner or ("job", "") in self.orders or self._any({S.RUNNING, S.QUEUED}, self.plan.steps)
        self.state = G.COMPENSATING if self.is_back else G.RUNNING if is_busy else G.WAITING

    def _any(self, states: Collection[S], steps: Iterable[StepPlan]) -> bool:
        return any(self.lives[step.name].state in states for step in steps)

    def _all(self, states: Collection[S], steps: Iterable[StepPlan]) -> bool:
        return all(self.lives[step.name].state in states for step in steps)

    @property
    def is_past_pivot(self) -> bool:
        """It succeeded, or a person said that it need not be done and everything before it is."""
        for stage in self.plan.stages:
            pivot = self.lives[stage[0].name]
            if stage[0].is_pivot:
                return pivot.state is S.SUCCEEDED or (pivot.state is S.SKIPPED and pivot.is_waived)
            if not self._all(DONE, stage):
                return False
        return False

    def _goes_forward(self) -> bool:
        """One stage; whether there may be another one at once."""
        if self.is_past_pivot:
            self.wish = ""
        stage = next((stage for stage in self.plan.stages if not self._all(DONE, stage)), ())
        if not stage:
            self.is_back, self.state = bool(self.wish), self.state if self.wish else G.COMPLETED
            return False
        if not self.is_past_pivot:
            is_late = self.deadline is not None and self.now >= self.deadline
            if is_late and not self.wish and not self._any({S.FAILED}, stage):
                self.wish = "compensated"
            if self.wish or self._any({S.FAILED}, stage):
                self._leave(stage)
                return False
        for step in stage:
            self._start(step)
            if not self.is_past_pivot and self._any({S.FAILED}, stage):
                return True
        if self.is_past_pivot and self._any({S.FAILED}, stage) and self._all({*DONE, S.FAILED}, stage):
            self.state = G.NEEDS_ATTENTION
        return self._all(DONE, stage)

    def _leave(self, stage: tuple[StepPlan, ...]) -> None:
        """Nothing is begun any more; what runs is waited for; then the way is back."""
        for step in stage:
            life = self.lives[step.name]
            if life.is_lost:
                self._start(step)
                continue
            is_new = ("saga", step.name) in self.orders
            self.orders -= {("job", step.name), ("saga", step.name)}
            if step.kind is StepKind.SAGA and life.state is S.WAITING and not is_new:
                if not life.is_recalled:
                    self.orders.add(("undo saga", step.name))
                life.is_recalled = True
            elif life.state in {S.PENDING, S.QUEUED, S.RETRYING, S.WAITING}:
                life.state = S.FAILED if life.is_begun else S.PENDING
                life.job = life.due = None
        is_lost = any(self.lives[step.name].is_lost for step in stage)
        self.is_back = not is_lost and not self._any({S.RUNNING, S.WAITING}, stage)

    def _start(self, step: StepPlan) -> None:
        life = self.lives[step.name]
        if life.state is S.PENDING or self._is_due_again(life):
            if not self.is_here:
                self.is_wanted = True
            elif not self.call:
                said = self.said.get(step.name, Prepared()) if life.state is S.PENDING else Prepared()
                self._start_here(step, said)
        elif life.state is S.WAITING:
            self._wait(step)

    def _start_here(self, step: StepPlan, said: Prepared) -> None:
        life = self.lives[step.name]
        if said.error is not None:
            life.state = S.FAILED
        elif not said.is_wanted:
            life.state = S.SKIPPED
        elif step.kind is StepKind.CALL:
            self._begin(step, "")
        else:
            life.state, life.is_recalled = S.WAITING, False
            if step.kind is StepKind.SAGA:
                self.orders.add(("saga", step.name))
            else:
                life.due = said.until or (self.now + step.timeout if step.timeout else None)
                self._wait(step)

    def _is_due_again(self, life: Life) -> bool:
        return life.state in {S.RETRYING, S.COMPENSATION_RETRYING} and life.due is not None and life.due <= self.now

    def _wait(self, step: StepPlan) -> None:
        life = self.lives[step.name]
        is_over = life.due is not None and life.due <= self.now
        letters = [each for each in self.letters if each.name == step.name]
        if step.kind is StepKind.SIGNAL and letters:
            self.letters.remove(letters[0])
            self.orders.add(("letter", step.name))
            life.state = S.SUCCEEDED
        elif step.kind is not StepKind.SAGA and is_over:
            life.state = S.SUCCEEDED if step.kind is StepKind.TIMER or step.is_optional else S.FAILED

    def _begin(self, step: StepPlan, back: str) -> None:
        """In place at once; else as a job, which says when it begins."""
        life = self.lives[step.name]
        if step.has_job and not self.is_inline:
            life.state = S.COMPENSATION_QUEUED if back else S.QUEUED
            self.orders.add((f"{back}job", step.name))
        else:
            self.call = step.name
            life.enter(S.COMPENSATING if back else S.RUNNING, self.token, None)

    def _go_back(self) -> None:
        """The latest stage of which something is left, all of it together."""
        for stage in reversed(self.plan.stages):
            left = [step for step in stage if self.is_left(step)]
            for step in left:
                self._undo(step)
            if left:
                self.state = G.NEEDS_ATTENTION if self._all({S.COMPENSATION_FAILED}, left) else self.state
                return
        self.state = G.CANCELLED if self.wish == "cancelled" else G.COMPENSATED

    def is_left(self, step: StepPlan) -> bool:
        """Whether something of it stands that is to be undone."""
        state = self.lives[step.name].state
        if step.name in self.taken_over or state in {S.COMPENSATING, *HALF_BACK}:
            # What the saga that this one was forked from did, that one undoes.
            return step.name not in self.taken_over
        has_effect = state is S.SUCCEEDED or (state is S.FAILED and step.undoes_failed)
        return (step.has_rollback and has_effect) or (step.kind is StepKind.SAGA and state is S.SUCCEEDED)

    def _undo(self, step: StepPlan) -> None:
        life = self.lives[step.name]
        is_first = life.state in {S.SUCCEEDED, S.FAILED}
        if not is_first and not self._is_due_again(life):
            return
        if step.kind is not StepKind.SAGA and not self.is_here:
            self.is_wanted = True
        elif not self.call or step.kind is StepKind.SAGA:
            if is_first:
                life.losses, life.has_failed = 0, life.state is S.FAILED
            if step.kind is StepKind.SAGA:
                life.state, life.due = S.COMPENSATING, None
                self.orders.add(("undo saga", step.name))
            else:
                self._begin(step, "undo ")

    def _taken(self, event: happened.Taken) -> None:
        _allow(self.state not in AT_REST and self.runner == event.runner, Stale)
        self._lose_the_call()
        self.token, self.is_inline, self.is_here = event.token, event.is_inline, True

    def _lose_the_call(self) -> bool:
        calls = [step.name for step in self.plan.steps if step.kind is StepKind.CALL]
        lost = [name for name in calls if self.lives[name].state in IN_HAND and self.lives[name].job is None]
        for name in lost:
            self._lose(name)
        return bool(lost)

    def _lose(self, name: str) -> None:
        life = self.lives[name]
        life.losses += 1
        self._miss(name, None if life.losses >= LOSSES else self.now)

    def _miss(self, name: str, due: dt.datetime | None) -> None:
        """Another attempt, from then on; or none."""
        life = self.lives[name]
        is_back = life.state in {S.COMPENSATING, *HALF_BACK}
        again, never = (S.COMPENSATION_RETRYING, S.COMPENSATION_FAILED) if is_back else (S.RETRYING, S.FAILED)
        life.state, life.due, life.job = never if due is None else again, due, None

    def _jobbegan(self, event: happened.JobBegan) -> None:
        life = self.lives[event.step]
        _allow(life.job == event.job and life.state in IN_HAND | IN_LINE, Stale)
        is_back = life.state in {S.COMPENSATING, S.COMPENSATION_QUEUED}
        if life.state in IN_HAND:
            # Another attempt of the same job: the one before is lost.
            self._lose(event.step)
        if life.state not in {S.FAILED, S.COMPENSATION_FAILED}:
            life.enter(S.COMPENSATING if is_back else S.RUNNING, event.token, event.job)

    def _held(self, name: str, token: str) -> Life:
        life = self.lives[name]
        _allow(life.state in IN_HAND and life.token == token, Stale)
        self.is_here = token == self.token
        return life

    def _returned(self, event: happened.Returned) -> None:
        life = self._held(event.step, event.token)
        life.state = S.SUCCEEDED if life.state is S.RUNNING else S.COMPENSATED
        life.losses = 0

    def _raised(self, event: happened.Raised) -> None:
        self._held(event.step, event.token).losses = 0
        self._miss(event.step, None if event.wait is None else self.now + event.wait)

    def _jobgone(self, event: happened.JobGone) -> None:
        life = self.lives[event.step]
        _allow(life.job == event.job and life.state in IN_HAND | IN_LINE, Stale)
        if event.is_final:
            self._miss(event.step, None)
        else:
            self._lose(event.step)

    def _runnergone(self, event: happened.RunnerGone) -> None:
        _allow(self.state not in AT_REST and self.runner == event.runner, Stale)
        was_in_step = self._lose_the_call()
        self.runner, self.token, self.is_inline, self.is_wanted = None, "", False, True
        if event.error is not None and not was_in_step:
            self.state = G.NEEDS_ATTENTION

    def _looked(self, event: happened.Looked) -> None:
        """Time alone."""

    def _signalled(self, event: happened.Signalled) -> None:
        _allow(self.state not in FINAL)
        self.letters.append(event.letter)

    def _sagaended(self, event: happened.SagaEnded) -> None:
        life = self.lives[event.step]
        _allow(life.child == event.child and life.state in {S.WAITING, S.COMPENSATING}, Stale)
        if life.state is S.WAITING:
            life.state = S.SUCCEEDED if event.state is G.COMPLETED else S.FAILED
        else:
            life.state = S.COMPENSATION_FAILED if event.state is G.COMPLETED else S.COMPENSATED

    def _stopped(self, event: happened.Stopped) -> None:
        _allow(self.state not in AT_REST, Stale)
        self._lose_the_call()
        self.state = G.NEEDS_ATTENTION

    def _cancel(self, event: happened.Cancel) -> None:
        _allow(self.state is not G.COMPLETED)
        self._ask_back("cancelled")

    def _compensate(self, event: happened.Compensate) -> None:
        self._ask_back("compensated")

    def _ask_back(self, wish: str) -> None:
        _allow(not self.is_past_pivot and self.state not in {G.COMPENSATED, G.CANCELLED})
        _allow(not (self.is_back and self.state is not G.NEEDS_ATTENTION))
        self.wish = (self.wish if self.is_back else "") or wish
        self.state = G.RUNNING
        for life in self.lives.values():
            if life.state is S.COMPENSATION_FAILED:
                life.state, life.due, life.losses = S.COMPENSATION_RETRYING, self.now, 0

    def _retrystep(self, event: happened.RetryStep) -> None:
        _allow(event.step in self.lives)
        life, is_stuck = self.lives[event.step], self.state is G.NEEDS_ATTENTION
        if life.state in {S.RETRYING, S.COMPENSATION_RETRYING}:
            life.due = self.now
        elif life.state is S.COMPENSATION_FAILED:
            life.state, life.due, life.losses = S.COMPENSATION_RETRYING, self.now, 0
        else:
            _allow(life.state is S.FAILED and is_stuck and not self.is_back)
            life.state, life.losses = S.PENDING, 0
        self.state = G.RUNNING

    def _skipstep(self, event: happened.SkipStep) -> None:
        _allow(event.step in self.lives and self.state not in FINAL)
        step, life = self.plan.by_name[event.step], self.lives[event.step]
        if life.state in HALF_BACK:
            life.state = S.COMPENSATION_SKIPPED
        else:
            _allow(not self.is_back and life.state not in {*DONE, *IN_HAND})
            _allow(not (step.kind is StepKind.SAGA and life.state is S.WAITING))
            life.state, life.is_waived = S.SKIPPED, True
        life.job = life.due = None
        self.state = G.RUNNING

    def _resume(self, event: happened.Resume) -> None:
        _allow(self.state is G.NEEDS_ATTENTION and not self._any({S.COMPENSATING}, self.plan.steps))
        for life in self.lives.values():
            if life.state is S.COMPENSATED:
                life.state, life.round, life.is_begun = S.PENDING, life.round + 1, False
            elif life.state in {*HALF_BACK, S.COMPENSATION_SKIPPED}:
                # Its effect stands, if it ever had one.
                life.state = S.PENDING if life.has_failed else S.SUCCEEDED
            elif life.state is S.FAILED:
                life.state = S.PENDING
            if life.state in {S.PENDING, S.SUCCEEDED}:
                life.job, life.due, life.losses = None, None, 0
        self.state, self.is_back, self.wish = G.RUNNING, False, ""
        if self.deadline is not None and self.deadline <= self.now:
            self.deadline = None


def _allow(is_so: bool, otherwise: type[Exception] = Refused) -> None:
    if not is_so:
        raise otherwise
