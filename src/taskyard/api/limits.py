"""Limits of queues and of tenants: how they are said and answered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from taskyard.api.documents import fields_of
from taskyard.api.shapes import Number, Object, OrNull, Text, Whole, Wrong

_MOST_SECONDS = 366 * 86_400
LIMIT = {
    "max_running": OrNull(Whole(0, 2**31 - 1, says="Running or in the broker at a time.")),
    "rate": OrNull(Number(0, 1_000_000, from_least=True, says="Starts in each `rate_seconds`.")),
    "rate_seconds": Number(0, _MOST_SECONDS, says="1, unless it is given with `rate`."),
}
LIMITS = Object(
    {"name": Text(), "max_running": OrNull(Whole()), "rate": OrNull(Number()), "rate_seconds": Number()}, name="Limits"
)


def said_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What :data:`LIMIT` was given, as operations take it."""
    said = dict(body)
    if "rate_seconds" in said:
        if said.get("rate") is None:
            raise Wrong("rate_seconds", "it goes with a rate.")
        said["per"] = dt.timedelta(seconds=said.pop("rate_seconds"))
    return said


def limits_of(row: Any) -> dict[str, Any]:
    """A row of settings."""
    return {"name": row.pk, **fields_of(row, "max_running", "rate", "rate_seconds")}
