"""Batches: how far they are, and cancelling one."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from taskyard.api.cursors import PAGING, decode, limit_of, next_of
from taskyard.api.documents import DONE, ID, fields_of, page, page_shape
from taskyard.api.resources.jobs import REASON, TENANT
from taskyard.api.routes import Asked, route
from taskyard.api.shapes import Flag, ListOf, MapOf, Moment, Number, Object, OneOf, OrNull, Text, Whole, body
from taskyard.batches.decision import BatchState
from taskyard.batches.queries import BatchFilter, Reading
from taskyard.jobs.ids import job_id
from taskyard.operations import batches

_STATES = tuple(state.value for state in BatchState)
_SUMMARY = Object(
    {
        "id": ID, "name": Text(), "state": OneOf(_STATES), "tenant": Text(), "total": Whole(), "succeeded": Whole(),
        "failed": Whole(), "cancelled": Whole(), "started_at": OrNull(Moment()), "updated_at": OrNull(Moment()),
        "finished_at": OrNull(Moment()), "cancel_requested_at": OrNull(Moment()),
        "is_stale": Flag(says="It should have news and has had none for so long as it says."),
        "percent": OrNull(Number()), "rate": OrNull(Number(says="Members a second.")),
        "remaining_seconds": OrNull(Number()),
    },
    name="BatchSummary",
)  # fmt: skip
_BATCH = Object(
    {
        **_SUMMARY.fields,
        "errors": ListOf(Object({"item": Text(), "error": Text(), "job": OrNull(ID)})),
        "unfinished": MapOf(Whole(), says="Members that have not ended, by state; of very many, among 10,000."),
    },
    name="Batch",
)  # fmt: skip


def _summary(found: Reading) -> dict[str, Any]:
    return {**fields_of(found, *_SUMMARY.fields), "total": int(found.total or 0)}


@route("GET", "batches", "view_batch", answer=page_shape(_SUMMARY, "Batches"), query={
    "state": ListOf(OneOf(_STATES), most=len(_STATES)), "name": Text(200), "tenant": TENANT, **PAGING,
})  # fmt: skip
def list_batches(asked: Asked) -> Mapping[str, Any]:
    """Batches, newest first."""
    said = asked.query
    wanted = BatchFilter(
        states=tuple(dict.fromkeys(said.get("state", ()))), name=said.get("name", ""), tenant=said.get("tenant")
    )
    found = batches.list_(asked.actor, wanted, after=decode(said, dt.datetime, uuid.UUID), limit=limit_of(said))
    return page([_summary(one) for one in found.rows], next_of(found))


@route("GET", "batches/<str:id>", "view_batch", answer=_BATCH)
def show_batch(asked: Asked) -> Mapping[str, Any]:
    """How far a batch is, its first failed members, and those that have not ended by state."""
    found = batches.show(asked.actor, job_id(asked.path["id"]))
    errors = [fields_of(one) for one in found.errors]
    return {**_summary(found), "errors": errors, "unfinished": found.unfinished}


@route("POST", "batches/<str:id>/cancel", "cancel_batch", body=body(reason=REASON, optional="*"), answer=DONE)
def cancel_batch(asked: Asked) -> Mapping[str, Any]:
    """Cancel all members that have not ended, and the next stage. Those that run are asked to stop."""
    batches.cancel(asked.actor, job_id(asked.path["id"]), reason=asked.body.get("reason", ""))
    return {"changed": 1}
