"""Everything on one screen, and how far jobs are as it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponseBase

from taskyard.api.caller import refused
from taskyard.api.documents import ID
from taskyard.api.resources.queues import QUEUE
from taskyard.api.resources.workers import WORKER
from taskyard.api.routes import Asked, route
from taskyard.api.shapes import Anything, ListOf, MapOf, Moment, Object, OrNull, Text, Whole
from taskyard.errors import NotFound
from taskyard.integrations.progress.access import Reference, Subject
from taskyard.integrations.progress.views import MOST_JOBS, respond
from taskyard.integrations.progress.watcher import TooManyStreams, look
from taskyard.jobs import queries
from taskyard.jobs.ids import job_id
from taskyard.monitoring.overview import overview

_ATTENTION = Object({"count": Whole(says="At most 1,000 are counted."), "oldest_at": OrNull(Moment())})
_STATUS = Object(
    {
        "at": Moment(), "workers": ListOf(WORKER), "queues": ListOf(QUEUE), "ended_last_hour": MapOf(Whole()),
        "held_back": ListOf(Anything(dict), says="Queues and tenants that operators hold back though jobs are due."),
        "sagas_needing_attention": _ATTENTION, "sagas_not_looked_at": _ATTENTION,
        "tenants_not_entered": ListOf(Anything(dict)), "relay": Anything(),
    },
    name="Status",
)  # fmt: skip


@route("GET", "status", "view_queue", "view_worker", answer=_STATUS)
def show_status(asked: Asked) -> Mapping[str, Any]:
    """What `taskyard status --json` says; of tenants' things, what is the caller's own."""
    return overview(asked.actor).document()


@route("GET", "events", "view_job", media="text/event-stream", answer=Text(),
       query={"job": ListOf(ID, 1, MOST_JOBS, says="May be repeated.")})  # fmt: skip
def follow_jobs(asked: Asked) -> HttpResponseBase:
    """How far jobs are, as server-sent events: one at once, one for each change, `end` when all have ended.

    The stream ends after half a minute (WSGI) or five (ASGI); a client goes on with `Last-Event-ID`. 204: all have
    ended, and the client knows it. 429: no room for another stream.
    """
    actor = asked.actor
    actor.require("view_job")
    ids = {text: job_id(text) for text in asked.query["job"]}
    seen = queries.summaries(set(ids.values()), tenant=actor.tenant)
    references = [Reference(text, Subject(each), False) for text, each in ids.items() if each in seen]
    if not references:
        raise NotFound("job", next(iter(ids)))
    found = look({one.subject for one in references})
    try:
        return respond(asked.request, references, found=found, viewer=f"api {actor.by}")
    except TooManyStreams as error:
        says = refused(429, "streams", title="Too many streams", detail=str(error))
        says.headers["Retry-After"] = "60"
        raise says from None
