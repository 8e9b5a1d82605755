"""How the steps of an orchestrator are declared."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from taskyard.sagas.context import Context
from taskyard.sagas.plan import StepPlan
from taskyard.sagas.states import StepKind
from taskyard.tasks.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from taskyard.sagas.declaring.orchestrator import Orchestrator

Function = TypeVar("Function", bound=Callable[..., Any])
Condition = Callable[[Context], object]

#: A compensation has five attempts, within about three minutes; then the saga needs attention.
COMPENSATION_RETRY = RetryPolicy(max_retries=4, backoff=dt.timedelta(seconds=10))
NAME = re.compile(r"[a-z]\w{0,49}", re.ASCII | re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """What can be said of a step."""

    #: It runs as a job of its own on this queue.
    queue: str | None = None
    #: It runs as a job of its own, which is ended after this long.
    time_limit: dt.timedelta | None = None
    #: It runs as a job of its own, wherever those of its orchestrator do.
    job: bool = False
    #: It runs at the same time as the steps beside it that name the same group; each is a job of its own.
    group: str = ""
    #: When it has succeeded, nothing is compensated any more.
    pivot: bool = False
    #: Asked before it starts; what is false skips it.
    when: Condition | None = None
    retry: RetryPolicy = NO_RETRY
    compensation_retry: RetryPolicy = COMPENSATION_RETRY
    #: The rollback is called also when the step failed, with None for a result.
    rollback_failed: bool = False


class Declared:
    """One step, as an attribute of its orchestrator's class."""

    kind = StepKind.CALL

    def __init__(self, **said: Any) -> None:
        known = {field.name for field in dataclasses.fields(StepOptions)}
        if unknown := sorted(set(said) - known):
            raise TypeError(f"a step has no option {unknown[0]!r}; known: {', '.join(sorted(known))}")
        self.options = StepOptions(**said)
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        # The first class that has it names it; what inherits it does not.
        self.name = self.name or name

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    @property
    def has_job(self) -> bool:
        """Whether it is a job of its own."""
        options = self.options
        return options.job or bool(options.queue or options.time_limit or options.group)

    @property
    def has_rollback(self) -> bool:
        """Whether there is something to call when it is compensated."""
        return False

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What its function takes after the context."""
        return {}

    def execute_with(self, orchestrator: Orchestrator, context: Context, *, given: Mapping[str, Any]) -> Any:
        """Call the function."""
        raise NotImplementedError

    def roll_back_with(self, orchestrator: Orchestrator, context: Context, *, result: Any) -> None:
        """Call the rollback."""
        raise NotImplementedError

    @property
    def plan(self) -> StepPlan:
        """What the coordinator has to know of it."""
        options = self.options
        return StepPlan(
            name=self.name, kind=self.kind, group=options.group, is_pivot=options.pivot, has_job=self.has_job,
            has_rollback=self.has_rollback, undoes_failed=options.rollback_failed,
            is_prepared=options.when is not None, time_limit=options.time_limit,
        )  # fmt: skip


class MethodStep(Declared):
    """A method under ``@step``."""

    def __init__(self, function: Callable[..., Any], **said: Any) -> None:
        super().__init__(**said)
        self.function = function
        self._rollback: Callable[..., Any] | None = None

    def rollback(self, function: Function) -> Function:
        """Decorator: the method that undoes this step, given the context and the step's result."""
        self._rollback = function
        return function

    @property
    def has_rollback(self) -> bool:
        return self._rollback is not None

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return _after(2, self.function)

    def execute_with(self, orchestrator: Orchestrator, context: Context, *, given: Mapping[str, Any]) -> Any:
        return self.function(orchestrator, context, **given)

    def roll_back_with(self, orchestrator: Orchestrator, context: Context, *, result: Any) -> None:
        assert self._rollback is not None
        self._rollback(orchestrator, context, result)


class Step(Declared):
    """A step as a class of its own, that several orchestrators may have: ``seats = ReserveSeats(queue="high")``."""

    def execute(self, context: Context, **inputs: Any) -> Any:
        """Do it; the result is JSON, and kept."""
        raise NotImplementedError

    def rollback(self, context: Context, result: Any) -> None:
        """Undo it; only what overrides this is ever compensated."""

    @property
    def has_rollback(self) -> bool:
        return type(self).rollback is not Step.rollback

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return _after(1, self.execute)

    def execute_with(self, orchestrator: Orchestrator, context: Context, *, given: Mapping[str, Any]) -> Any:
        return self.execute(context, **given)

    def roll_back_with(self, orchestrator: Orchestrator, context: Context, *, result: Any) -> None:
        self.rollback(context, result)


class SignalStep(Declared):
    """Waits for a signal of its name."""

    kind = StepKind.SIGNAL

    def __init__(self, timeout: dt.timedelta | None, is_optional: bool, **said: Any) -> None:
        super().__init__(**said)
        self.timeout, self.is_optional = timeout, is_optional

    @property
    def plan(self) -> StepPlan:
        return dataclasses.replace(super().plan, timeout=self.timeout, is_optional=self.is_optional)


class TimerStep(Declared):
    """Waits for a time."""

    kind = StepKind.TIMER

    def __init__(self, until: dt.timedelta | Callable[[Context], dt.datetime], **said: Any) -> None:
        super().__init__(**said)
        self.until = until

    def asked(self, context: Context) -> dt.datetime | None:
        """What its callable says, if it has one; raises ``TypeError`` for what is no time with a zone: without one it
        would wait for ever.
        """
        if not callable(self.until):
            return None
        said: object = self.until(context)
        if not isinstance(said, dt.datetime) or said.utcoffset() is None:
            raise TypeError(f"timer {self.name!r} waits until an aware datetime, not {said!r}")
        return said

    @property
    def plan(self) -> StepPlan:
        fixed = self.until if isinstance(self.until, dt.timedelta) else None
        return dataclasses.replace(super().plan, timeout=fixed, is_prepared=fixed is None or super().plan.is_prepared)


class ChildStep(Declared):
    """A saga of its own."""

    kind = StepKind.SAGA

    def __init__(
        self, orchestrator: type[Orchestrator], inputs: Callable[[Context], Mapping[str, Any]] | None, **said: Any
    ) -> None:
        super().__init__(**said)
        self.orchestrator, self.inputs = orchestrator, inputs

    @property
    def plan(self) -> StepPlan:
        return dataclasses.replace(super().plan, is_prepared=True, has_job=False)


@overload
def step(function: Callable[..., Any], /) -> MethodStep: ...
@overload
def step(
    *,
    queue: str | None = ...,
    time_limit: dt.timedelta | None = ...,
    job: bool = ...,
    group: str = ...,
    pivot: bool = ...,
    when: Condition | None = ...,
    retry: RetryPolicy = ...,
    compensation_retry: RetryPolicy = ...,
    rollback_failed: bool = ...,
) -> Callable[[Callable[..., Any]], MethodStep]: ...
def step(function: Callable[..., Any] | None = None, /, **said: Any) -> Any:
    """A method that is a step: ``def reserve(self, context, plan): ...``. Steps run in the order they are written.

    After the context it takes inputs of the saga and results of earlier steps, each by its name. What it returns is
    JSON and is kept. It runs at least once: a worker that dies in it, or before its end is written, has it run again
    with the same ``context.idempotency_key``. ``@reserve.rollback`` above another method says how it is undone.

    Args:
        queue, time_limit, job, group: each makes it a job of its own; else it runs in the coordinator's process,
            without a round trip. Steps beside each other with the same ``group`` run at the same time.
        pivot: when it has succeeded there is only forward recovery: a later step that fails needs attention.
        when: a callable of the context; the step is skipped if it returns something false.
        retry: a :class:`~taskyard.tasks.retry.RetryPolicy`; by default an error fails the step. Workers that are lost
            in it spend no retries; three in a row fail it.
        compensation_retry: the same for its rollback; by default five attempts.
        rollback_failed: call the rollback also when the step itself failed, for what may have been done halfway.
    """
    if function is not None:
        return MethodStep(function)
    return lambda function: MethodStep(function, **said)


def signal(*, timeout: dt.timedelta | None = None, optional: bool = False, when: Condition | None = None) -> Any:
    """A step that waits for a signal of its own name; its result is the payload.

    After ``timeout`` it fails, or with ``optional`` goes on with None. Without one it waits for ever.
    """
    return SignalStep(timeout, optional, when=when)


def timer(until: dt.timedelta | Callable[[Context], dt.datetime], *, when: Condition | None = None) -> Any:
    """A step that waits: so long, or until what a callable of the context returns. It is about a second late."""
    return TimerStep(until, when=when)


def child(
    orchestrator: type[Orchestrator],
    *,
    inputs: Callable[[Context], Mapping[str, Any]] | None = None,
    group: str = "",
    when: Condition | None = None,
) -> Any:
    """A step that is a saga of its own, with these inputs (a callable of the context; default: the inputs it shares).

    Its result is that saga's. If that is compensated, this step has failed; to compensate this step is to compensate
    that saga.
    """
    return ChildStep(orchestrator, inputs, group=group, when=when)


def _after(skipped: int, function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return dict(list(inspect.signature(function).parameters.items())[skipped:])
