"""A verb over all jobs that a filter means: counted, then done by a job of our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskyard.api.documents import STARTED, SUMMARY, summary
from taskyard.api.resources.jobs import FILTER, REASON, filter_of
from taskyard.api.routes import Asked, route
from taskyard.api.shapes import Flag, ListOf, Number, Object, OneOf, Whole, Wrong, body
from taskyard.operations.bulk import order
from taskyard.operations.bulk.order import Order
from taskyard.operations.jobs import ACTS

RATE = Number(0, 100_000, says="At most so many jobs a second.")
_PREVIEW = Object(
    {
        "count": Whole(says="How many jobs it would be about, counted up to 10,000."),
        "is_more": Flag(says="There are more than were counted."),
        "sample": ListOf(SUMMARY),
    },
    name="Preview",
)  # fmt: skip
_BODY = body(
    verb=OneOf(tuple(ACTS)), filter=body(**FILTER, optional="*"), rate=RATE, reason=REASON, optional="rate reason"
)


def _order(asked: Asked) -> Order:
    wanted = filter_of(asked.body["filter"])
    if wanted.is_empty:
        raise Wrong("filter", "it must say which jobs: state, task, queue, tenant or since.")
    return order.order(
        asked.actor, asked.body["verb"], wanted, rate=asked.body.get("rate"), reason=asked.body.get("reason", "")
    )


@route("POST", "jobs/bulk/preview", body=_BODY, answer=_PREVIEW)
def preview_bulk(asked: Asked) -> Mapping[str, Any]:
    """How many jobs a bulk verb would be about as things stand, and the first of them. Takes the verb's permission."""
    seen = order.preview(asked.actor, _order(asked))
    return {"count": seen.count, "is_more": seen.is_more, "sample": [summary(job) for job in seen.sample]}


@route("POST", "jobs/bulk", body=_BODY, answer=STARTED, status=202)
def start_bulk(asked: Asked) -> Mapping[str, Any]:
    """Do a verb to all jobs that match now, and to none that come to match later. Takes the verb's permission.

    A job does it and shows its progress; cancel that job to abort. One audit entry has the counts.
    """
    return {"job": order.start(asked.actor, _order(asked)).id}
