"""Workers: which there are, and stopping one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskyard.api.documents import ID, fields_of, page_shape
from taskyard.api.resources.jobs import REASON
from taskyard.api.routes import Asked, route
from taskyard.api.shapes import ListOf, Moment, Number, Object, OneOf, Text, Whole, body
from taskyard.operations import workers

WORKER = Object(
    {
        "id": ID, "name": Text(), "host": Text(), "pid": Whole(), "queues": ListOf(Text()), "slots": Whole(),
        "running": Whole(), "version": Text(), "started_at": Moment(), "heartbeat_at": Moment(),
        "heartbeat_age_seconds": Number(), "state": OneOf(("alive", "stopping", "silent")),
    },
    name="Worker",
)  # fmt: skip


@route("GET", "workers", "view_worker", answer=page_shape(WORKER, "Workers"))
def list_workers(asked: Asked) -> Mapping[str, Any]:
    """Every worker, and how many of the caller's own jobs it runs. All of them: `next` is null."""
    return {"items": [fields_of(each) for each in workers.list_(asked.actor)], "next": None}


@route("POST", "workers/<path:worker>/stop", "stop_worker", body=body(reason=REASON, optional="*"), answer=WORKER,
       status=202)  # fmt: skip
def stop_worker(asked: Asked) -> Mapping[str, Any]:
    """Ask a worker, by its id or name, to stop as SIGTERM does: it takes nothing new and finishes what runs.

    For operators of all tenants. That it was told is all that is known when this answers; 503: the broker is away.
    """
    return fields_of(workers.stop(asked.actor, asked.path["worker"], **asked.body))
