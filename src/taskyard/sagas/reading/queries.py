"""The read side of sagas: frozen values without secrets. ``tenant`` is who is looking, as for jobs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db.models import Q

from taskyard.jobs.detail import HowHeld
from taskyard.jobs.pages.keyset import Page, page_of, place_from
from taskyard.jobs.redaction import names_of, redact, secrets_in
from taskyard.sagas.declaring import registry
from taskyard.sagas.declaring.steps import ChildStep
from taskyard.sagas.models import Saga, SagaEvent, SagaSignal, SagaStep
from taskyard.sagas.plan import Plan, StepPlan
from taskyard.sagas.reading.timeline import Timeline, timeline_of
from taskyard.sagas.reading.waits import KEEPER_TAKES, Looking, why_it_waits
from taskyard.sagas.states import SagaState, StepState
from taskyard.sagas.writing.jobs import task_of
from taskyard.sagas.writing.store import plan_of
from taskyard.settings import get_settings
from taskyard.tasks.doors import door

#: Lines of a history, and signals, of one reading: the latest.
MOST_EVENTS, MOST_SIGNALS = 1_000, 100
#: Sagas that are counted for a warning.
MOST_COUNTED = 1_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SagaFilter:
    """Which sagas are meant; what is not given matches everything."""

    name: str = ""
    states: tuple[str, ...] = ()
    tenant: str | None = None
    #: Type and key of a row of the project's own: ``("shop.order", "17")``.
    subject: tuple[str, str] | None = None
    #: Started at or after.
    since: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SagaSummary:
    """One line of a list."""

    id: uuid.UUID
    name: str
    version: int
    state: str
    tenant: str
    #: What somebody asked for and is not begun: ``cancelled``, ``compensated`` or nothing.
    wish: str
    created_at: dt.datetime
    #: Of its last transition.
    updated_at: dt.datetime
    due_at: dt.datetime | None
    deadline_at: dt.datetime | None
    finished_at: dt.datetime | None
    subject_type: str
    subject_id: str
    created_by: str
    parent: uuid.UUID | None
    parent_step: str
    forked_from: uuid.UUID | None
    #: Why it turned round, and why it needs attention: ``type``, ``message`` and more, or None.
    error: Mapping[str, Any] | None
    stuck: Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepReading:
    """One step of the plan, begun or not."""

    name: str
    kind: str
    group: str
    is_pivot: bool
    has_rollback: bool
    state: str
    #: Begun so far, of the function and of the rollback.
    attempt: int
    compensation_attempt: int
    #: The saga that this one was forked from did it: here it is not compensated.
    is_taken_over: bool
    #: Names of the inputs and of the steps whose results it is given; None where its code is not here.
    takes: tuple[str, ...] | None
    result: Any
    error: Mapping[str, Any] | None
    #: Why it was skipped, or recalled.
    reason: str
    job: uuid.UUID | None
    #: The saga within.
    child: uuid.UUID | None
    #: When it is tried again, or no longer waited for.
    due_at: dt.datetime | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    compensation_started_at: dt.datetime | None
    compensation_finished_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SignalReading:
    """One signal."""

    name: str
    key: str | None
    payload: Any
    received_at: dt.datetime
    #: None: no step has waited for it yet.
    used_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventReading:
    """One line of the history."""

    revision: int
    at: dt.datetime
    what: str
    step: str
    text: str
    who: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SagaReading(SagaSummary):
    """Everything about one saga, without secrets."""

    queue: str
    inputs: Any
    result: Any
    #: Of the whole plan, in its order.
    steps: tuple[StepReading, ...]
    #: In the order they came; of very many the last 100.
    signals: tuple[SignalReading, ...]
    #: In the order of time; of a very long one the last 1,000 lines.
    history: tuple[EventReading, ...]
    #: Why it does not go on now, as a sentence without its end; empty for one that has ended.
    waits_for: str
    #: This process has the code that it runs by.
    is_known: bool
    #: Moment of the reading.
    at: dt.datetime

    @property
    def timeline(self) -> Timeline:
        """When each step ran, waited and was undone."""
        return timeline_of(self.steps, self.history, start=self.created_at, end=self.finished_at or self.at)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Sagas that somebody has to look at."""

    #: At most 1,000 are counted.
    count: int = 0
    #: Since when the longest of them is so.
    oldest_at: dt.datetime | None = None


_SUMMARY = tuple(field.name for field in dataclasses.fields(SagaSummary))
_STEP = tuple(
    field.name
    for field in dataclasses.fields(StepReading)
    if field.name not in ("kind", "group", "is_pivot", "has_rollback", "takes")
)
_SIGNAL = tuple(field.name for field in dataclasses.fields(SignalReading))
_EVENT = tuple(field.name for field in dataclasses.fields(EventReading))


def find_page(wanted: SagaFilter, *, after: str = "", limit: int) -> Page[SagaSummary]:
    """The next sagas that a filter means, newest first; see :func:`taskyard.jobs.pages.keyset.page_of`."""
    order = ("created_at", "id")
    place = place_from(after, Saga, order=order) if after else None
    rows, rest = _narrowed(wanted)
    found = page_of(rows.only(*_SUMMARY), order, wanted=rest, after=place, limit=limit)
    return dataclasses.replace(found, rows=tuple(map(_summary, found.rows)))


def _narrowed(wanted: SagaFilter) -> tuple[Any, Q]:
    """Rows that an index gives in order, and what is left to be looked for among them."""
    rows, rest = Saga.objects.visible_to(None), Q()
    if wanted.since is not None:
        rows = rows.filter(created_at__gte=wanted.since)
    if wanted.subject is not None:
        # Few are about one row.
        rows = rows.filter(subject_type=wanted.subject[0], subject_id=wanted.subject[1])
    if len(wanted.states) == 1:
        rows = rows.filter(state=wanted.states[0])
    elif wanted.states:
        rest &= Q(state__in=wanted.states)
    if wanted.tenant is not None and len(wanted.states) == 1:
        rest &= Q(tenant=wanted.tenant)
    elif wanted.tenant is not None:
        rows = rows.filter(tenant=wanted.tenant)
    if wanted.name:
        rest &= Q(name=wanted.name)
    return rows, rest


def _summary(row: Saga) -> SagaSummary:
    return SagaSummary(**{name: getattr(row, name) for name in _SUMMARY})


def find_saga(
    saga_id: uuid.UUID, now: dt.datetime, *, held_back: HowHeld, tenant: str | None = None
) -> SagaReading | None:
    """Everything about one saga, or None. ``held_back`` is asked about queues and tenants whose jobs it waits for.

    Imports the project's orchestrators where that was not done: they say what is a secret.
    """
    row: Saga | None = Saga.objects.visible_to(tenant).filter(id=saga_id).first()
    if row is None:
        return None
    door("load_tasks")()
    alias, plan = get_settings().database, plan_of(row.plan)
    begun, signals = _begun(saga_id), _signals(saga_id)
    history = SagaEvent.objects.using(alias).filter(saga=saga_id).order_by("-id")[:MOST_EVENTS]
    hide = _Hiding(row, begun.values(), signals=signals)
    return SagaReading(
        **{name: getattr(row, name) for name in _SUMMARY if name not in ("error", "stuck")},
        error=hide.value(row.error), stuck=hide.value(row.stuck), queue=row.queue, inputs=hide.value(row.inputs),
        result=hide.value(row.result), steps=tuple(_steps(row, plan, begun=begun, hide=hide)),
        signals=tuple(
            SignalReading(**{**each, "payload": hide.named(each["name"], each["payload"])}) for each in signals
        ),
        history=tuple(EventReading(**each) for each in reversed(history.values(*_EVENT))),
        waits_for=why_it_waits(
            row, plan, steps=begun, looking=Looking(now=now, held_back=held_back, tenant=tenant)
        ),
        is_known=_definition_of(row, plan) is not None, at=now,
    )  # fmt: skip


def _begun(saga_id: uuid.UUID) -> dict[str, SagaStep]:
    rows = SagaStep.objects.using(get_settings().database).filter(saga=saga_id)
    return {each.name: each for each in rows}


def _signals(saga_id: uuid.UUID) -> list[dict[str, Any]]:
    sent = SagaSignal.objects.using(get_settings().database).filter(saga=saga_id).order_by("-id")[:MOST_SIGNALS]
    return [dict(each) for each in reversed(sent.values(*_SIGNAL))]


def shown_inputs(row: Saga) -> Any:
    """The inputs of a saga as :func:`find_saga` shows them."""
    return _Hiding(row, _begun(row.id).values(), signals=_signals(row.id)).value(row.inputs)


class _Hiding:
    """Takes secrets out of what is shown of one saga."""

    def __init__(self, row: Saga, steps: Collection[SagaStep], *, signals: Sequence[Mapping[str, Any]]) -> None:
        self._names = sensitive_names(row.name, row.version)
        given = [row.inputs, row.result, {each.name: each.result for each in steps}]
        self._secrets = secrets_in([*given, *({each["name"]: each["payload"]} for each in signals)], self._names)

    def value(self, value: Any) -> Any:
        return redact(value, self._names, secrets=self._secrets)

    def named(self, name: str, value: Any) -> Any:
        """A step may be called ``token``, and its result be one."""
        return next(iter(redact({name: value}, self._names, secrets=self._secrets).values()))


def sensitive_names(name: str, version: int) -> frozenset[str]:
    """What an orchestrator, and those within it, call secrets."""
    names, definition = names_of(task_of(name)), registry.find(name, version)
    for step in definition.steps.values() if definition is not None else ():
        if isinstance(step, ChildStep):
            within = step.orchestrator.definition
            names |= sensitive_names(within.name, within.version)
    return names


def _steps(row: Saga, plan: Plan, *, begun: Mapping[str, SagaStep], hide: _Hiding) -> list[StepReading]:
    definition = _definition_of(row, plan)
    found = []
    for step in plan.steps:
        # No row: its turn has not come.
        each = begun.get(step.name) or SagaStep(saga=row.id, name=step.name, state=StepState.PENDING.value)
        takes = None if definition is None else tuple(definition.arguments(step.name, inputs=row.inputs, results={}))
        values = {name: getattr(each, name) for name in _STEP}
        values |= {"result": hide.named(step.name, each.result), "error": hide.value(each.error)}
        found.append(StepReading(**_planned(step), **values, takes=takes))
    return found


def _planned(step: StepPlan) -> dict[str, Any]:
    return {
        "kind": step.kind.value, "group": step.group, "is_pivot": step.is_pivot, "has_rollback": step.has_rollback
    }  # fmt: skip


def _definition_of(row: Saga, plan: Plan) -> Any:
    found = registry.find(row.name, row.version)
    return found if found is not None and found.plan.matches(plan) else None


def needing_attention(*, tenant: str | None = None) -> Attention:
    """Those that wait for a person."""
    rows = Saga.objects.visible_to(tenant).filter(state=SagaState.NEEDS_ATTENTION.value)
    return _counted(rows.order_by("created_at").values_list("updated_at", flat=True))


def not_looked_at(now: dt.datetime, *, tenant: str | None = None) -> Attention:
    """Those whose time has come more than two minutes ago: no keeper acts, or it does not get through."""
    rows = Saga.objects.visible_to(tenant).due(now - KEEPER_TAKES)
    return _counted(rows.order_by("due_at").values_list("due_at", flat=True))


def _counted(moments: Any) -> Attention:
    found = list(moments[:MOST_COUNTED])
    return Attention(count=len(found), oldest_at=min(found, default=None))
