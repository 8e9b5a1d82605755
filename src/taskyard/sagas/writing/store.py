"""A saga's rows, read as a value, and written as the difference a transition makes: nobody else writes them.

Every transition, whoever makes it, is one transaction that moves the row's revision by one if it is still the one that
was decided by; with it go the steps that changed, a line of history each, and the jobs that follow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connections, transaction
from django.utils import timezone

from taskyard import enqueue
from taskyard.errors import NotFound
from taskyard.jobs.ids import new_id
from taskyard.runtime.faults import fault_point
from taskyard.sagas.machine.advance import advance
from taskyard.sagas.machine.events import Cancel, Compensate, Event, SagaEnded, Signalled
from taskyard.sagas.machine.outcome import Order, Outcome, Refused, Stale, StartSaga, UndoSaga, UseLetter, WriteJob
from taskyard.sagas.machine.run import Letter, Run, StepRun
from taskyard.sagas.models import Saga, SagaEvent, SagaPlan, SagaSignal, SagaStep
from taskyard.sagas.plan import Plan
from taskyard.sagas.states import FINAL, SagaState, StepState
from taskyard.sagas.writing import atonce, jobs

_STEP = tuple(field.name for field in dataclasses.fields(StepRun))
#: Of the saga's row, what a transition may change.
_RUN = (
    "runner", "token", "is_inline", "is_undoing", "wish", "error", "stuck", "due_at", "deadline_at", "revision",
)  # fmt: skip
_LONGEST_TEXT = 500


@functools.lru_cache(maxsize=1_000)
def plan_of(digest: str) -> Plan:
    """The plan that a saga began with."""
    return Plan.from_text(SagaPlan.objects.using(enqueue.control_alias()).get(digest=digest).steps)


def read(saga_id: uuid.UUID, *, locks: bool = False, tenant: str | None = None) -> tuple[Saga, Run]:
    """A saga as it stands; raises :class:`~taskyard.errors.NotFound`, also for another tenant's.

    ``locks``: nobody changes it until the caller's transaction ends.
    """
    alias = enqueue.control_alias()
    rows = Saga.objects.visible_to(tenant)
    row: Saga | None = (rows.select_for_update() if locks else rows).filter(id=saga_id).first()
    if row is None:
        raise NotFound("saga", saga_id)
    steps = SagaStep.objects.using(alias).filter(saga=saga_id).values(*_STEP)
    letters: Iterable[SagaSignal] = ()
    if plan_of(row.plan).has_signals:
        letters = SagaSignal.objects.using(alias).filter(saga=saga_id, used_at=None).order_by("id")
    run = Run(
        state=SagaState(row.state), **{name: getattr(row, name) for name in _RUN},
        steps={each["name"]: StepRun(**{**each, "state": StepState(each["state"])}) for each in steps},
        letters=tuple(Letter(each.id, each.name, each.payload) for each in letters),
    )  # fmt: skip
    return row, run


def tell(
    saga_id: uuid.UUID, event: Event, now: dt.datetime, *, who: str = "", tenant: str | None = None
) -> tuple[Saga, Outcome]:
    """Let something have happened to a saga, for everybody but whoever has it in hand; in a transaction.

    Raises what :func:`~taskyard.sagas.machine.advance.advance` does, and :class:`~taskyard.errors.NotFound`.
    """
    with transaction.atomic(using=enqueue.control_alias()):
        row, run = read(saga_id, locks=True, tenant=tenant)
        outcome = advance(plan_of(row.plan), run, event, now, new_id=new_id)
        is_written = write(row, run, outcome=outcome, now=now, who=who)
        assert is_written, "a locked row moved"
    return row, outcome


def signal(
    saga_id: uuid.UUID, name: str, payload: Any, *, key: str | None, now: dt.datetime, tenant: str | None, who: str = ""
) -> bool:
    """Keep a signal and let a step that waits for it go on, in a transaction; False: it was there already."""
    alias = enqueue.control_alias()
    with transaction.atomic(using=alias):
        row, run = read(saga_id, locks=True, tenant=tenant)
        letters = SagaSignal.objects.using(alias)
        if key is not None and letters.filter(saga=saga_id, name=name, key=key).exists():
            return False
        letter = letters.create(saga=saga_id, name=name, key=key, payload=payload, received_at=now)
        outcome = advance(plan_of(row.plan), run, Signalled(Letter(letter.pk, name, payload)), now, new_id=new_id)
        write(row, run, outcome=outcome, now=now, who=who)
    return True


def write(row: Saga, before: Run, *, outcome: Outcome, now: dt.datetime, who: str = "") -> bool:
    """Write a transition, in one transaction; False, and nothing is written, if another one came first."""
    after, alias = outcome.run, enqueue.control_alias()
    values: dict[str, Any] = {name: getattr(after, name) for name in _RUN} | {"state": after.state.value}
    values |= {"updated_at": now}
    if after.state in FINAL:
        values |= {"finished_at": now}
        if after.state is SagaState.COMPLETED:
            values |= {"result": _result_of(row, after)}
    elif row.finished_at is not None:
        values |= {"finished_at": None}
    steps, notes = _steps_of(row.id, before.steps, after.steps), _notes_of(row, outcome, now, who)
    is_over = after.state in FINAL and before.state is not after.state and row.parent is not None
    if connections[alias].vendor == "postgresql" and not outcome.orders and not is_over:
        is_written = atonce.move(row.id, before.revision, alias=alias, values=values, steps=steps, notes=notes)
    else:
        with transaction.atomic(using=alias):
            is_written = _move(row.id, before.revision, alias=alias, values=values, steps=steps, notes=notes)
            if is_written:
                _carry_out(row, outcome.orders, now, alias)
    if not is_written:
        return False
    for name, value in values.items():
        setattr(row, name, value)
    if is_over:
        transaction.on_commit(functools.partial(tell_parent, row), using=alias)
    return True


def _move(
    saga_id: uuid.UUID,
    revision: int,
    *,
    alias: str,
    values: Mapping[str, Any],
    steps: Sequence[SagaStep],
    notes: Sequence[SagaEvent],
) -> bool:
    if not Saga.objects.using(alias).filter(id=saga_id, revision=revision).update(**values):
        return False
    if steps:
        is_targeted = connections[alias].features.supports_update_conflicts_with_target
        SagaStep.objects.using(alias).bulk_create(
            steps, update_conflicts=True, update_fields=[name for name in _STEP if name != "name"],
            unique_fields=["saga", "name"] if is_targeted else None,
        )  # fmt: skip
    fault_point("saga.written")
    SagaEvent.objects.using(alias).bulk_create(notes)
    return True


def _steps_of(saga_id: uuid.UUID, before: Mapping[str, StepRun], after: Mapping[str, StepRun]) -> list[SagaStep]:
    return [
        SagaStep(saga=saga_id, **{name: getattr(each, name) for name in _STEP})
        for name, each in after.items()
        if before.get(name) is not each
    ]


def _notes_of(row: Saga, outcome: Outcome, now: dt.datetime, who: str) -> list[SagaEvent]:
    return [
        SagaEvent(
            saga=row.id, revision=outcome.run.revision, at=now, what=note.what, step=note.step,
            text=note.text[:_LONGEST_TEXT], who=who[:150],
        )
        for note in outcome.notes
    ]  # fmt: skip


def _result_of(row: Saga, run: Run) -> Any:
    done = [run.step(each.name) for each in plan_of(row.plan).steps]
    return next((each.result for each in reversed(done) if each.state is StepState.SUCCEEDED), None)


def _carry_out(row: Saga, orders: Sequence[Order], now: dt.datetime, alias: str) -> None:
    new = []
    for order in orders:
        if isinstance(order, WriteJob):
            new.append(jobs.of_step(row, order, now) if order.step else jobs.of_coordinator(row, order.job, now))
        elif isinstance(order, StartSaga):
            new.append(jobs.start_within(row, order, now))
        elif isinstance(order, UseLetter):
            SagaSignal.objects.using(alias).filter(id=order.letter).update(used_at=now)
        else:
            transaction.on_commit(functools.partial(call_back, row.id, order), using=alias)
    if new:
        enqueue.write(new, alias)


def call_back(parent: uuid.UUID, order: UndoSaga) -> None:
    """Have the saga within a step compensated, or cancelled while it is still on its way.

    Here at once; where this fails, or this process dies, the keeper does it.
    """
    fault_point("saga.recalled")
    now = timezone.now()
    try:
        child, _ = read(order.child)
        is_over = child.state == SagaState.COMPLETED
        tell(order.child, Compensate() if is_over else Cancel(), now)
    except NotFound:
        # It was deleted: the keeper says so.
        return
    except Refused as refused:
        if is_over:
            answer = {"type": "NotCompensated", "message": f"saga {order.child}: {refused}"}
            with contextlib.suppress(Stale, NotFound):
                tell(parent, SagaEnded(order.step, order.child, SagaState.COMPLETED, error=answer), now)


def tell_parent(row: Saga) -> None:
    """Have the saga that this one is a step of know how it ended; the keeper does it where this fails."""
    assert row.parent is not None
    fault_point("saga.ended")
    ended = SagaEnded(row.parent_step, row.id, SagaState(row.state), result=row.result, error=row.error)
    with contextlib.suppress(Stale, NotFound):
        tell(row.parent, ended, timezone.now())
