"""A version of an orchestrator, ready to run: its plan, its class, and the functions of its steps."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from taskyard.sagas.declaring.steps import NAME, ChildStep, Declared, TimerStep
from taskyard.sagas.plan import Plan
from taskyard.sagas.states import StepKind
from taskyard.tasks.answers import Answers


@dataclasses.dataclass(frozen=True)
class Definition:
    """What ``@orchestrator`` found."""

    name: str
    version: int
    cls: type[Any]
    steps: Mapping[str, Declared]
    queue: str | None = None
    deadline: dt.timedelta | None = None
    errors: Answers = dataclasses.field(default_factory=dict)
    sensitive: tuple[str, ...] = ()
    tenant_from: Any = None

    @property
    def key(self) -> tuple[str, int]:
        """What it is known by."""
        return self.name, self.version

    @functools.cached_property
    def plan(self) -> Plan:
        """What the coordinator decides by."""
        return Plan(self.name, self.version, tuple(each.plan for each in self.steps.values()))

    @functools.cached_property
    def _wanted(self) -> tuple[frozenset[str], frozenset[str], bool]:
        """All inputs, those without a default, and whether a step takes any."""
        known: set[str] = set()
        optional: set[str] = set()
        takes_any = False
        for each in self.steps.values():
            for name, parameter in each.parameters.items():
                if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                    takes_any = True
                elif name not in self.steps:
                    known.add(name)
                    optional |= {name} if parameter.default is not inspect.Parameter.empty else set()
        if isinstance(self.tenant_from, str):
            # No step need take what says whose it is.
            known.add(self.tenant_from)
            optional.discard(self.tenant_from)
        return frozenset(known), frozenset(known - optional), takes_any

    def refuse_odd_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Raise ``TypeError`` for what no step takes, and for what one needs and is not there."""
        known, required, takes_any = self._wanted
        takes = f"orchestrator {self.name!r} takes {', '.join(sorted(known)) or 'nothing'}"
        unknown = sorted(set(inputs) - known)
        if unknown and not takes_any:
            raise TypeError(f"{takes}; {unknown[0]!r} is not among them")
        if missing := sorted(required - set(inputs)):
            raise TypeError(f"{takes}; {missing[0]!r} is missing")

    def own_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Those of another orchestrator's inputs that this one takes."""
        known, _, takes_any = self._wanted
        return {name: value for name, value in inputs.items() if takes_any or name in known}

    def arguments(self, name: str, *, inputs: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
        """What a step's function is given beside the context: inputs, and results of steps, by name."""
        given: dict[str, Any] = {}
        for parameter in self.steps[name].parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                return {**inputs, **given}
            if parameter.name in self.steps:
                # Of one that was skipped there is none.
                given[parameter.name] = results.get(parameter.name)
            elif parameter.name in inputs:
                given[parameter.name] = inputs[parameter.name]
        return given


def find_problems(definition: Definition) -> list[str]:
    """What cannot work, a sentence each."""
    problems: list[str] = []
    if not definition.steps:
        problems.append("it has no steps: put @step above its methods")
    groups_seen: set[str] = set()
    last_group = ""
    pivots = 0
    before: set[str] = set()
    for name, each in definition.steps.items():
        if not NAME.fullmatch(name) or "__" in name:
            problems.append(f"step {name!r}: a name has up to 50 letters, digits and single underscores")
        group = each.options.group
        if group and group != last_group and group in groups_seen:
            problems.append(f"step {name!r}: the steps of group {group!r} must stand beside each other")
        groups_seen.add(group)
        last_group = group
        pivots += each.options.pivot
        if each.options.pivot and group:
            problems.append(f"step {name!r}: a pivot stands alone, not in group {group!r}")
        problems += _of_parameters(name, each, before, set(definition.steps))
        problems += _of_waiting(name, each)
        before.add(name)
    if pivots > 1:
        problems.append("it has more than one pivot")
    return problems


def _of_parameters(name: str, each: Declared, before: set[str], steps: set[str]) -> list[str]:
    found = []
    for parameter in each.parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
            found.append(f"step {name!r}: {parameter.name!r} cannot be given by name")
        elif parameter.name in steps - before:
            found.append(f"step {name!r} takes the result of {parameter.name!r}, which does not come before it")
    return found


def _of_waiting(name: str, each: Declared) -> list[str]:
    if each.options.rollback_failed and not each.has_rollback:
        return [f"step {name!r}: rollback_failed=True, and it has no rollback"]
    if isinstance(each, ChildStep) and not hasattr(each.orchestrator, "definition"):
        return [f"step {name!r}: {each.orchestrator!r} is no orchestrator; put @orchestrator above it"]
    until: object = each.until if isinstance(each, TimerStep) else dt.timedelta()
    if not callable(until) and not isinstance(until, dt.timedelta):
        return [f"step {name!r}: timer() takes a timedelta or a callable, not {until!r}"]
    if each.kind is not StepKind.CALL and each.options.pivot:
        return [f"step {name!r}: a pivot does something, and {each.kind} only waits"]
    return []
