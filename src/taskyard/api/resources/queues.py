"""Queues: what stands in them, holding them back, emptying one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskyard.api.documents import DONE, STARTED, fields_of, page_shape
from taskyard.api.limits import LIMIT, LIMITS, limits_of, said_of
from taskyard.api.resources.jobs import REASON
from taskyard.api.routes import Asked, route
from taskyard.api.shapes import Moment, Object, OrNull, Text, Whole, body
from taskyard.operations import queues
from taskyard.operations.bulk import order

QUEUE = Object(
    {
        "name": Text(), "due": Whole(says="In the table, its time has come."),
        "later": Whole(says="In the table, waiting for its time."), "queued": Whole(says="In the broker's window."),
        "running": Whole(), "oldest_due_at": OrNull(Moment()), "finished_last_minute": Whole(),
        "workers": Whole(), "slots": Whole(), "paused_at": OrNull(Moment()),
    },
    name="Queue",
)  # fmt: skip
_REASON = body(reason=REASON, optional="*")


@route("GET", "queues", "view_queue", answer=page_shape(QUEUE, "Queues"))
def list_queues(asked: Asked) -> Mapping[str, Any]:
    """Every queue and what stands in it, of the caller's own jobs. All of them: `next` is null."""
    found, paused = queues.list_(asked.actor), queues.paused()
    items = [
        {**fields_of(each), "paused_at": paused[each.name].paused_at if each.name in paused else None} for each in found
    ]
    return {"items": items, "next": None}


@route("POST", "queues/<path:name>/pause", "pause_queue", body=_REASON, answer=DONE)
def pause_queue(asked: Asked) -> Mapping[str, Any]:
    """Feed nothing of a queue to workers until it is resumed. For operators of all tenants."""
    return {"changed": queues.pause(asked.actor, [asked.path["name"]], **asked.body)}


@route("POST", "queues/<path:name>/resume", "pause_queue", body=_REASON, answer=DONE)
def resume_queue(asked: Asked) -> Mapping[str, Any]:
    """Feed a queue again. For operators of all tenants."""
    return {"changed": queues.resume(asked.actor, [asked.path["name"]], **asked.body)}


@route("POST", "queues/<path:name>/limit", "limit_queue", body=body(**LIMIT, optional="*"), answer=LIMITS)
def limit_queue(asked: Asked) -> Mapping[str, Any]:
    """Say how much of a queue may run; null: no limit, what is not given stays. For operators of all tenants."""
    return limits_of(queues.limit(asked.actor, asked.path["name"], **said_of(asked.body)))


@route("POST", "queues/<path:name>/clear", "clear_queue", body=_REASON, answer=STARTED, status=202)
def clear_queue(asked: Asked) -> Mapping[str, Any]:
    """Cancel everything that waits in a queue, of the caller's own tenant. A job does it: cancel that to abort."""
    return {"job": order.start(asked.actor, queues.clearing(asked.actor, asked.path["name"], **asked.body)).id}
