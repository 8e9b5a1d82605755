"""An error of a step as what is kept of it: names and text, never local variables, and no secrets."""

from __future__ import annotations

import traceback
from collections.abc import Collection
from typing import Any

from taskyard.jobs.redaction import redact_text

MAX_MESSAGE, MAX_TRACEBACK = 2_000, 16_000


def describe(error: BaseException, *, secrets: Collection[str] = ()) -> dict[str, Any]:
    """``type``, ``message`` and ``traceback`` of what a step raised, redacted."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception as broken:  # a user's __str__ may raise anything
        message = f"<{name} whose text cannot be made: {type(broken).__name__}>"
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    lines = "".join(traceback.format_exception(kind, error, frames))
    return {
        "type": name,
        "message": redact_text(message[:MAX_MESSAGE], secrets),
        "traceback": redact_text(lines[-MAX_TRACEBACK:], secrets),
    }
