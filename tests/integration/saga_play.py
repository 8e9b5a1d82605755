"""Sagas that are played: their transitions are written as workers write them, at moments that a test chooses."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from taskyard import enqueue
from taskyard.jobs.ids import new_id
from taskyard.sagas import Orchestrator
from taskyard.sagas.machine.events import JobBegan, Looked, Raised, Returned, Taken
from taskyard.sagas.models import Saga
from taskyard.sagas.states import AT_REST, IN_HAND, IN_LINE
from taskyard.sagas.writing import jobs, store


@dataclasses.dataclass(frozen=True)
class Act:
    """How an attempt goes: it takes so many seconds, and raises if ``wait`` is said (None: for the last time)."""

    seconds: float = 0.1
    raises: bool = False
    wait: float | None = None
    result: Any = None
    #: Nobody hears of it any more.
    hangs: bool = False


class Play:
    """``acts``: by the name of a step, or ``-name`` for its compensation, how its attempts go, one after another."""

    def __init__(
        self, orchestrator: type[Orchestrator], now: dt.datetime, acts: Mapping[str, Sequence[Act]], **about: Any
    ) -> None:
        self.now, self.acts = now, {name: list(each) for name, each in acts.items()}
        inputs, definition = about.pop("inputs", {}), orchestrator.definition
        row = jobs.new_saga(definition, inputs, now, runner=new_id(), **about)
        jobs.write_saga(row, definition.plan, now)
        assert row.runner is not None
        enqueue.write([jobs.of_coordinator(row, row.runner, now)], enqueue.control_alias())
        self.id = row.id
        self._ends: dict[str, tuple[dt.datetime, Act]] = {}

    @property
    def row(self) -> Saga:
        return Saga.objects.get(id=self.id)

    def tell(self, event: Any) -> None:
        store.tell(self.id, event, self.now)

    def wait(self, seconds: float) -> "Play":
        self.now += dt.timedelta(seconds=seconds)
        return self

    def go_on(self) -> "Play":
        """Until it rests, or waits for something that does not come by itself."""
        while self._turn():
            pass
        return self

    def _turn(self) -> bool:
        run = store.read(self.id)[1]
        if run.state in AT_REST:
            return False
        if run.runner is not None and not run.token:
            self.tell(Taken(run.runner, f"{run.revision:032d}"))
            return True
        for name, step in run.steps.items():
            if step.state in IN_LINE and step.job is not None:
                self.tell(JobBegan(name, step.job, f"{run.revision:032d}"))
                return True
            if step.state in IN_HAND and step.token and name not in self._ends:
                key = f"-{name}" if step.state == "compensating" else name
                act = (self.acts.get(key) or [Act()]).pop(0)
                self._ends[name] = (self.now + dt.timedelta(seconds=act.seconds), act)
                return True
        heard = {name: end for name, end in self._ends.items() if not end[1].hangs}
        if heard:
            self._end(min(heard, key=lambda name: heard[name][0]), run)
            return True
        due = [step.due_at for step in run.steps.values() if step.due_at and step.state.endswith("retrying")]
        if not due or self._ends:
            return False
        self.now = max(self.now, min(due))
        self.tell(Looked())
        return True

    def _end(self, name: str, run: Any) -> None:
        at, act = self._ends.pop(name)
        self.now = max(self.now, at)
        token = run.steps[name].token
        if act.raises:
            lines = "Traceback (most recent call last):\n  in charge\nCardNetworkDown: no route"
            error = {"type": "shop.CardNetworkDown", "message": "no route to the card network", "traceback": lines}
            wait = None if act.wait is None else dt.timedelta(seconds=act.wait)
            self.tell(Raised(name, token, error, wait))
        else:
            self.tell(Returned(name, token, act.result))
