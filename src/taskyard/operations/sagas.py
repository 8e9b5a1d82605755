"""Verbs about sagas. Each is one transition, or none: it is safe while workers run them.

What is asked of a saga that another transition has moved meanwhile is decided by how it stands then; what cannot be
done to it as it stands is refused, and changes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import uuid
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from taskyard.errors import NotFound, WrongState
from taskyard.jobs.pages.keyset import Page
from taskyard.jobs.redaction import restored
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.blind import blind_saga, blind_saga_summary
from taskyard.operations.acting.entries import Deed, together, write_down
from taskyard.operations.acting.held import held_back
from taskyard.operations.acting.verbs import verb
from taskyard.sagas.machine.events import Cancel, Compensate, Resume, RetryStep, SkipStep, Verb
from taskyard.sagas.machine.outcome import Refused
from taskyard.sagas.models import Saga
from taskyard.sagas.reading import queries
from taskyard.sagas.reading.queries import SagaFilter, SagaReading, SagaSummary
from taskyard.sagas.writing import forking, store
from taskyard.tasks.doors import door
from taskyard.tasks.payload import encode_value

#: How much of a reason a step keeps.
_LONGEST = 500


@verb("saga", "view_saga", reads=True)
def list_(actor: Actor, wanted: SagaFilter | None = None, *, after: str = "", limit: int = 50) -> Page[SagaSummary]:
    """A page of them, the newest first; ``after``: the place of the page before, as text."""
    wanted = wanted or SagaFilter()
    own = dataclasses.replace(wanted, tenant=actor.within(wanted.tenant).tenant)
    found = queries.find_page(own, after=after, limit=limit)
    return found if actor.sees_payload else dataclasses.replace(found, rows=tuple(map(blind_saga_summary, found.rows)))


@verb("saga", "view_saga", reads=True)
def show(actor: Actor, saga_id: uuid.UUID) -> SagaReading:
    """Everything about one: steps, signals, history, and why it waits."""
    how_held = functools.partial(held_back, is_operator=actor.is_for_all)
    found = queries.find_saga(saga_id, timezone.now(), held_back=how_held, tenant=actor.tenant)
    if found is None:
        raise NotFound("saga", saga_id)
    return found if actor.sees_payload else blind_saga(found)


@verb("saga", "retry_saga")
def retry_step(actor: Actor, saga_id: uuid.UUID, step: str, *, reason: str = "") -> None:
    """Has a step, or its compensation, tried again: one that gave up, or one that waits for its next attempt.

    Its policy counts from none again. Raises :class:`~taskyard.errors.WrongState` for a step that did not fail.
    """
    _tell(actor, "retry_step", saga_id, RetryStep(step), said={"step": step}, reason=reason)


@verb("saga", "skip_saga")
def skip_step(actor: Actor, saga_id: uuid.UUID, step: str, *, reason: str) -> None:
    """Says that a step, or its compensation, need not be done; the reason is kept with the step.

    Raises :class:`~taskyard.errors.WrongState` without a reason, for a step that is done, and while a worker is in it.
    """
    if not reason.strip():
        raise WrongState("saga", saga_id, f"say why step {step!r} is skipped")
    _tell(actor, "skip_step", saga_id, SkipStep(step, reason[:_LONGEST]), said={"step": step}, reason=reason)


@verb("saga", "compensate_saga")
def compensate(actor: Actor, saga_id: uuid.UUID, *, reason: str = "") -> None:
    """Has what was done undone, the latest first; of one that has completed as well.

    A step that a worker is in is waited for. Raises :class:`~taskyard.errors.WrongState` for one that is past its
    pivot, and for one that is being compensated or was.
    """
    error = {"type": "Compensated", "message": reason} if reason else None
    _tell(actor, "compensate", saga_id, Compensate(error), reason=reason)


@verb("saga", "retry_saga")
def resume(actor: Actor, saga_id: uuid.UUID, *, reason: str = "") -> None:
    """Has one that needs attention go on forward: failed steps again, and those that were compensated once more.

    A step whose compensation gave up or was skipped keeps its effect, and is not run again.
    """
    _tell(actor, "resume", saga_id, Resume(), reason=reason)


@verb("saga", "cancel_saga")
def cancel(actor: Actor, saga_id: uuid.UUID, *, reason: str = "") -> None:
    """Asks for it to be undone and called cancelled; a step that a worker is in is waited for.

    Raises :class:`~taskyard.errors.WrongState` for one that has ended or is past its pivot.
    """
    error = {"type": "Cancelled", "message": reason} if reason else None
    _tell(actor, "cancel", saga_id, Cancel(error), reason=reason)


@verb("saga", "signal_saga")
def signal(
    actor: Actor, saga_id: uuid.UUID, name: str, payload: Any = None, *, key: str | None = None, reason: str = ""
) -> bool:
    """Tells it something, for the step of that name; False: the signal of that key was there already.

    Raises :class:`~taskyard.errors.WrongState` for one that has ended or has no step that waits for such a signal, and
    :class:`~taskyard.errors.PayloadError` for a payload that cannot be kept.
    """
    encode_value("saga", f"the payload of signal {name!r}", payload)
    with together():
        row, _ = store.read(saga_id, tenant=actor.tenant)
        known = [step.name for step in store.plan_of(row.plan).steps if step.kind == "signal"]
        if name not in known:
            raise WrongState("saga", saga_id, f"it waits for no signal {name!r}: {', '.join(known) or 'for none'}")
        before = row.state
        try:
            is_new = store.signal(
                saga_id, name, payload, key=key, now=timezone.now(), tenant=actor.tenant, who=actor.name
            )
        except Refused as refused:
            raise WrongState("saga", saga_id, str(refused)) from refused
        deed = dataclasses.replace(_deed(row, before, signal=name), count=int(is_new), reason=reason)
        write_down(actor, "saga", "signal", deed)
    return is_new


@verb("saga", "fork_saga")
def fork(
    actor: Actor, saga_id: uuid.UUID, step: str, *, inputs: Mapping[str, Any] | None = None, reason: str = ""
) -> SagaSummary:
    """Starts a new saga at a step of one that is at rest, with what came before taken over.

    ``inputs``: all of them, in the place of the saga's, which takes the permission to see payload as well; what is left
    as it was shown, hidden, is as it is stored. See :func:`taskyard.sagas.writing.forking.fork` for what is taken over
    and what is not undone. Raises :class:`~taskyard.errors.WrongState`, ``TypeError`` for inputs that its steps do not
    take, and :class:`~taskyard.errors.PayloadError` for those that cannot be kept.
    """
    if inputs is not None:
        actor.require("view_payload")
    with together():
        row, _ = store.read(saga_id, locks=True, tenant=actor.tenant)
        given = None if inputs is None else _restored(row, inputs)
        try:
            new = forking.fork(saga_id, step, timezone.now(), inputs=given, by=actor.by, tenant=actor.tenant)
        except Refused as refused:
            raise WrongState("saga", saga_id, str(refused)) from refused
        changed = sorted(name for name in {**row.inputs, **new.inputs} if row.inputs.get(name) != new.inputs.get(name))
        deed = _deed(row, row.state, step=step, fork=str(new.id), changed=changed)
        write_down(actor, "saga", "fork", dataclasses.replace(deed, reason=reason))
    found = SagaSummary(**{field.name: getattr(new, field.name) for field in dataclasses.fields(SagaSummary)})
    return found if actor.sees_payload else blind_saga_summary(found)


def _restored(row: Saga, inputs: Mapping[str, Any]) -> Any:
    """What a person made of inputs that were shown to them, with the secrets that are stored."""
    door("load_tasks")()
    return restored(inputs, row.inputs, shown=queries.shown_inputs(row))


def _tell(
    actor: Actor, name: str, saga_id: uuid.UUID, event: Verb, *, said: Mapping[str, Any] | None = None, reason: str
) -> None:
    with together():
        before = store.read(saga_id, locks=True, tenant=actor.tenant)[0].state
        try:
            row, _ = store.tell(saga_id, event, timezone.now(), who=actor.name, tenant=actor.tenant)
        except Refused as refused:
            raise WrongState("saga", saga_id, str(refused)) from refused
        write_down(actor, "saga", name, dataclasses.replace(_deed(row, before, **(said or {})), reason=reason))


def _deed(row: Saga, before: str, **said: Any) -> Deed:
    return Deed(
        target=str(row.id), tenant=row.tenant, before={"state": before}, after={"state": row.state},
        said={"name": row.name, **said},
    )  # fmt: skip
