"""What a definition says of its steps, without their code: all that the coordinator's decisions need."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import json
from typing import Any

from taskyard.sagas.states import StepKind


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """One step."""

    name: str
    kind: StepKind = StepKind.CALL
    #: Steps of a group, one after another in the definition, run at the same time.
    group: str = ""
    #: When it has succeeded there is no way back.
    is_pivot: bool = False
    #: It runs as a job of its own, not in the coordinator's process.
    has_job: bool = False
    has_rollback: bool = False
    #: It is compensated also when it failed: nobody knows how far it came.
    undoes_failed: bool = False
    #: The project's code is asked before it starts: whether, until when, with which inputs.
    is_prepared: bool = False
    #: Of a signal: how long it is waited for, and whether the saga goes on without it.
    timeout: dt.timedelta | None = None
    is_optional: bool = False
    #: Its worker ends it after this long.
    time_limit: dt.timedelta | None = None

    @property
    def shape(self) -> tuple[object, ...]:
        """What may not change while sagas of this version are on their way."""
        return self.name, self.kind, self.group, self.is_pivot, self.has_rollback


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(StepPlan)}


@dataclasses.dataclass(frozen=True)
class Plan:
    """All steps of a version of an orchestrator, in their order."""

    name: str
    version: int
    steps: tuple[StepPlan, ...]

    @functools.cached_property
    def stages(self) -> tuple[tuple[StepPlan, ...], ...]:
        """Steps that run together: a group, or one step."""
        found: list[list[StepPlan]] = []
        for step in self.steps:
            if found and step.group and found[-1][0].group == step.group:
                found[-1].append(step)
            else:
                found.append([step])
        return tuple(map(tuple, found))

    @functools.cached_property
    def by_name(self) -> dict[str, StepPlan]:
        """The steps by their names."""
        return {step.name: step for step in self.steps}

    def matches(self, other: Plan) -> bool:
        """Whether a saga that began with that one may go on with this: the same steps, with the same meaning.

        A step that was a job of its own stays one: else no worker knows its task.
        """
        has_tasks = all(mine.has_job or not its.has_job for mine, its in zip(self.steps, other.steps, strict=False))
        return has_tasks and [step.shape for step in self.steps] == [step.shape for step in other.steps]

    @functools.cached_property
    def text(self) -> str:
        """As JSON; what has its default is left out."""
        return json.dumps(
            {"name": self.name, "version": self.version, "steps": [_shown(step) for step in self.steps]},
            separators=(",", ":"), sort_keys=True,
        )  # fmt: skip

    @functools.cached_property
    def digest(self) -> str:
        """Of that text: 32 characters."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    @classmethod
    def from_text(cls, text: str) -> Plan:
        """What :attr:`text` was made of."""
        said = json.loads(text)
        return cls(said["name"], said["version"], tuple(map(_read, said["steps"])))

    @functools.cached_property
    def has_signals(self) -> bool:
        """Whether a step waits for a signal: else nobody uses one."""
        return any(step.kind is StepKind.SIGNAL for step in self.steps)

    @functools.cached_property
    def pivot(self) -> StepPlan | None:
        """The step behind which only forward recovery is allowed."""
        return next((step for step in self.steps if step.is_pivot), None)


def _shown(step: StepPlan) -> dict[str, object]:
    told = {field.name: getattr(step, field.name) for field in dataclasses.fields(StepPlan)}
    return {
        name: value.total_seconds() if isinstance(value, dt.timedelta) else value
        for name, value in told.items()
        if value != _DEFAULTS.get(name, _DEFAULTS)
    }


def _read(said: dict[str, Any]) -> StepPlan:
    given = {**said, "kind": StepKind(said.get("kind", StepKind.CALL))}
    for name in ("timeout", "time_limit"):
        if name in given:
            given[name] = dt.timedelta(seconds=given[name])
    return StepPlan(**given)
