"""The audit: what was done by whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskyard.api.cursors import PAGING, decode, limit_of, next_of
from taskyard.api.documents import ID, fields_of, page, page_shape
from taskyard.api.routes import Asked, route
from taskyard.api.shapes import Anything, Moment, Object, OrNull, Text, Whole
from taskyard.operations import audit

_ENTRY = Object(
    {
        "id": Whole(), "at": Moment(), "who": Text(), "user": Text(), "tenant": Text(), "verb": Text(), "kind": Text(),
        "target": Text(), "count": OrNull(Whole()), "before": Anything(), "after": Anything(), "said": Anything(),
        "reason": Text(), "via": Text(), "address": Text(), "job": OrNull(ID),
    },
    name="AuditEntry",
)  # fmt: skip
_WORDS = {"who": Text(150), "kind": Text(32), "verb": Text(32), "target": Text(300), "via": Text(32)}


@route("GET", "audit", "view_auditentry", answer=page_shape(_ENTRY, "AuditEntries"),
       query={**_WORDS, "since": Moment(), **PAGING})  # fmt: skip
def list_audit(asked: Asked) -> Mapping[str, Any]:
    """What was done by whom, the latest first. `who`: a name, or a user's primary key."""
    said = {name: value for name, value in asked.query.items() if name not in PAGING}
    after = decode(asked.query, int)
    found = audit.page(asked.actor, audit.AuditFilter(**said), after=after, limit=limit_of(asked.query))
    return page([fields_of(entry, *_ENTRY.fields) for entry in found.rows], next_of(found))
