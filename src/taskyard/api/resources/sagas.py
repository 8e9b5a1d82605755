"""Sagas: how they stand, why they wait, and what operators do to them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from taskyard.api.cursors import PAGING, decode, limit_of, next_of
from taskyard.api.documents import DONE, ERROR, ID, fields_of, page, page_shape
from taskyard.api.resources.jobs import REASON, TENANT
from taskyard.api.routes import Asked, route
from taskyard.api.shapes import Anything, Flag, ListOf, Moment, Number, Object, OneOf, OrNull, Text, Whole, Wrong, body
from taskyard.errors import NotJson
from taskyard.jobs.ids import job_id
from taskyard.operations import sagas
from taskyard.sagas.reading.queries import SagaFilter, SagaReading, SagaSummary
from taskyard.sagas.reading.timeline import BarKind, Timeline
from taskyard.sagas.states import SagaState, StepKind, StepState

_STATES = tuple(state.value for state in SagaState)
_MOMENT = OrNull(Moment())
_SUMMARY = Object(
    {
        "id": ID, "name": Text(), "version": Whole(), "state": OneOf(_STATES), "tenant": Text(),
        "wish": Text(says="What somebody asked for and is not begun: cancelled, compensated or nothing."),
        "created_at": Moment(), "updated_at": Moment(says="Of its last transition."), "due_at": _MOMENT,
        "deadline_at": _MOMENT, "finished_at": _MOMENT, "subject_type": Text(), "subject_id": Text(),
        "created_by": Text(), "parent": OrNull(ID), "parent_step": Text(), "forked_from": OrNull(ID),
        "error": OrNull(ERROR), "stuck": OrNull(ERROR),
    },
    name="SagaSummary",
)  # fmt: skip
_STEP = Object(
    {
        "name": Text(), "kind": OneOf(tuple(StepKind)), "group": Text(), "is_pivot": Flag(), "has_rollback": Flag(),
        "state": OneOf(tuple(StepState)), "attempt": Whole(), "compensation_attempt": Whole(),
        "is_taken_over": Flag(says="The saga that this one was forked from did it."),
        "takes": OrNull(ListOf(Text(), says="Names of the inputs, and of the steps whose results, it is given.")),
        "result": Anything(), "error": OrNull(ERROR), "reason": Text(), "job": OrNull(ID),
        "child": OrNull(Text(format="uuid", says="The saga that it is.")), "due_at": _MOMENT, "started_at": _MOMENT,
        "finished_at": _MOMENT, "compensation_started_at": _MOMENT, "compensation_finished_at": _MOMENT,
    },
    name="SagaStep",
)  # fmt: skip
_SIGNAL = Object(
    {"name": Text(), "key": OrNull(Text()), "payload": Anything(), "received_at": Moment(), "used_at": _MOMENT}
)
_EVENT = Object(
    {"revision": Whole(), "at": Moment(), "what": Text(), "step": Text(), "text": Text(), "who": Text()}
)  # fmt: skip
_BAR = Object({
    "kind": OneOf(tuple(BarKind)), "start": Moment(), "end": _MOMENT, "ended": Text(),
    "from": Number(says="Where it begins on the scale of the whole, from 0 to 1; long waits are drawn short."),
    "to": Number(),
})  # fmt: skip
_SAGA = Object(
    {
        **_SUMMARY.fields, "queue": Text(), "inputs": Anything(), "result": Anything(), "steps": ListOf(_STEP),
        "signals": ListOf(_SIGNAL), "history": ListOf(_EVENT, says="The last 1,000 lines, in the order of time."),
        "waits_for": Text(says="Why it does not go on now; empty for one that has ended."),
        "is_known": Flag(says="The process that answers has the code that it runs by."), "at": Moment(),
        "timeline": ListOf(Object({"step": Text(), "state": Text(), "group": Text(), "bars": ListOf(_BAR)})),
        "payload_hidden": Flag(says="Inputs, results, what signals brought and the words of errors are left out."),
    },
    name="Saga",
)  # fmt: skip
_FORK = Object({"id": ID, "forked_from": ID}, name="ForkedSaga")
_REASON = body(reason=REASON, optional="*")


def _summary(found: SagaSummary) -> dict[str, Any]:
    return {**fields_of(found, *_SUMMARY.fields), "error": _error(found.error), "stuck": _error(found.stuck)}


def _error(error: Mapping[str, Any] | None) -> dict[str, str] | None:
    return {name: str(error.get(name) or "") for name in ERROR.fields} if error else None


def _document(found: SagaReading, *, is_blind: bool) -> dict[str, Any]:
    steps = [{**fields_of(step), "error": _error(step.error)} for step in found.steps]
    more = fields_of(found, "queue", "inputs", "result", "signals", "history", "waits_for", "is_known", "at")
    lanes = _lanes(found.timeline)
    return {**_summary(found), **more, "steps": steps, "timeline": lanes, "payload_hidden": is_blind}


def _lanes(timeline: Timeline) -> list[dict[str, Any]]:
    def bars(lane: Any) -> list[dict[str, Any]]:
        return [
            {**fields_of(bar), "from": timeline.place(bar.start), "to": timeline.place(bar.end)} for bar in lane.bars
        ]

    return [{**fields_of(lane), "bars": bars(lane)} for lane in timeline.lanes]


@route("GET", "sagas", "view_saga", answer=page_shape(_SUMMARY, "Sagas"), query={
    "state": ListOf(OneOf(_STATES), most=len(_STATES)), "name": Text(200),
    "subject_type": Text(100, 1, says="Of a row of the project's own, as app.model; with subject_id."),
    "subject_id": Text(100, 1), "since": Moment(says="Started since."), "tenant": TENANT, **PAGING,
})  # fmt: skip
def list_sagas(asked: Asked) -> Mapping[str, Any]:
    """Sagas, newest first."""
    said = asked.query
    if ("subject_type" in said) != ("subject_id" in said):
        raise Wrong("subject_type", "say both this and subject_id, or neither.")
    wanted = SagaFilter(
        states=tuple(dict.fromkeys(said.get("state", ()))), name=said.get("name", ""), tenant=said.get("tenant"),
        subject=(said["subject_type"].lower(), said["subject_id"]) if "subject_type" in said else None,
        since=said.get("since"),
    )  # fmt: skip
    found = sagas.list_(asked.actor, wanted, after=decode(said, dt.datetime, uuid.UUID), limit=limit_of(said))
    return page([_summary(one) for one in found.rows], next_of(found))


@route("GET", "sagas/<str:id>", "view_saga", answer=_SAGA)
def show_saga(asked: Asked) -> Mapping[str, Any]:
    """Everything about one saga: its steps, signals, history and timeline, and why it waits."""
    found = sagas.show(asked.actor, job_id(asked.path["id"]))
    return _document(found, is_blind=not asked.actor.sees_payload)


def _id(asked: Asked) -> uuid.UUID:
    return job_id(asked.path["id"])


def _reason(asked: Asked) -> str:
    return str(asked.body.get("reason", ""))


@route("POST", "sagas/<str:id>/steps/<str:step>/retry", "retry_saga", body=_REASON, answer=DONE)
def retry_saga_step(asked: Asked) -> Mapping[str, Any]:
    """Try a step, or its compensation, again: one that gave up, or one that waits for its next attempt."""
    sagas.retry_step(asked.actor, _id(asked), asked.path["step"], reason=_reason(asked))
    return {"changed": 1}


@route(
    "POST", "sagas/<str:id>/steps/<str:step>/skip", "skip_saga", answer=DONE,
    body=body(reason=Text(500, 1, says="Kept with the step, and written into the audit.")),
)  # fmt: skip
def skip_saga_step(asked: Asked) -> Mapping[str, Any]:
    """Say that a step, or its compensation, need not be done."""
    sagas.skip_step(asked.actor, _id(asked), asked.path["step"], reason=_reason(asked))
    return {"changed": 1}


@route("POST", "sagas/<str:id>/compensate", "compensate_saga", body=_REASON, answer=DONE)
def compensate_saga(asked: Asked) -> Mapping[str, Any]:
    """Undo what was done, the latest first; of a saga that has completed as well."""
    sagas.compensate(asked.actor, _id(asked), reason=_reason(asked))
    return {"changed": 1}


@route("POST", "sagas/<str:id>/resume", "retry_saga", body=_REASON, answer=DONE)
def resume_saga(asked: Asked) -> Mapping[str, Any]:
    """Have a saga that needs attention go on forward."""
    sagas.resume(asked.actor, _id(asked), reason=_reason(asked))
    return {"changed": 1}


@route("POST", "sagas/<str:id>/cancel", "cancel_saga", body=_REASON, answer=DONE)
def cancel_saga(asked: Asked) -> Mapping[str, Any]:
    """Undo what was done, and call the saga cancelled."""
    sagas.cancel(asked.actor, _id(asked), reason=_reason(asked))
    return {"changed": 1}


@route("POST", "sagas/<str:id>/signals", "signal_saga", answer=DONE, body=body(
    name=Text(100, 1), payload=Anything(), key=Text(150, 1, says="The same key a second time changes nothing."),
    reason=REASON, optional="payload key reason",
))  # fmt: skip
def signal_saga(asked: Asked) -> Mapping[str, Any]:
    """Tell a saga what a step of that name waits for. It is kept until then, and used once."""
    said = asked.body
    try:
        is_new = sagas.signal(
            asked.actor, _id(asked), said["name"], said.get("payload"), key=said.get("key"), reason=_reason(asked)
        )
    except NotJson as error:
        raise Wrong("payload", str(error)) from error
    return {"changed": int(is_new)}


@route("POST", "sagas/<str:id>/fork", "fork_saga", status=201, answer=_FORK, body=body(
    step=Text(100, 1), reason=REASON, optional="inputs reason",
    inputs=Anything(dict, says="All of them, which takes `view_payload`; what the saga has, unless they are given."),
))  # fmt: skip
def fork_saga(asked: Asked) -> Mapping[str, Any]:
    """Start a new saga at a step of one that is at rest; what came before it is taken over, nothing is undone."""
    said = asked.body
    try:
        new = sagas.fork(asked.actor, _id(asked), said["step"], inputs=said.get("inputs"), reason=_reason(asked))
    except (NotJson, TypeError) as error:
        raise Wrong("inputs", str(error)) from error
    return {"id": new.id, "forked_from": new.forked_from}
