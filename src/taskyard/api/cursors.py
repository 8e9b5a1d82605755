"""Where the next page begins, as one word for an address. It holds nothing that the page before did not show."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from taskyard.api.shapes import Shape, Text, Whole, Wrong
from taskyard.jobs.pages.keyset import Page, place_text

_MOST = 400
#: What every list takes; made anew for each, because documents may add to it.
PAGING: Mapping[str, Shape] = {
    "limit": Whole(1, 200, says="Most items of the page; 50 unless it is given."),
    "cursor": Text(_MOST, says="`next` of the page before, with the same filters."),
}
_USUAL = 50


def limit_of(query: Mapping[str, Any]) -> int:
    """How many are asked for."""
    return int(query.get("limit", _USUAL))


def next_of(found: Page[Any]) -> str | None:
    """The cursor of the page behind this one."""
    return None if found.after is None else encode(place_text(found.after))


def encode(text: str) -> str:
    """A place as a cursor."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(query: Mapping[str, Any], *kinds: type) -> str:
    """The place that a cursor stands for, of parts of these kinds; empty without one. Raises :class:`Wrong`."""
    if "cursor" not in query:
        return ""
    try:
        padded = query["cursor"] + "=" * (-len(query["cursor"]) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        for kind, part in zip(kinds, text.split("~"), strict=True):
            _check(kind, part)
    except (ValueError, binascii.Error, OverflowError):
        raise Wrong("cursor", "it is none of this list: take `next` of the page before, as it is.") from None
    return text


def _check(kind: type, part: str) -> None:
    if kind is dt.datetime:
        if dt.datetime.fromisoformat(part).astimezone(dt.UTC) is None or dt.datetime.fromisoformat(part).tzinfo is None:
            raise ValueError(part)
    elif kind is uuid.UUID:
        uuid.UUID(part)
    elif kind is int:
        if not 0 <= int(part) < 2**63:
            raise ValueError(part)
    elif not part.isprintable():
        raise ValueError(part)
