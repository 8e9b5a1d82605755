"""An exception as what is stored of it: names and text, never local variables."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from taskyard.execution.cleaning import MARGIN, MAX_MESSAGE, MAX_TRACEBACK
from taskyard.execution.outcome import Trouble
from taskyard.failures.frames import own_frames

#: The modules between Celery's tracer and the task's function.
_CALLERS = frozenset({"taskyard.celery.attempt.body", "taskyard.celery.registry"})

_REASONS: dict[type[BaseException], str] = {
    SoftTimeLimitExceeded: "soft-time-limit",
    TimeLimitExceeded: "time-limit",
}


def type_name(error: BaseException) -> str:
    """The class as it is stored: bare for builtins, with its module otherwise."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def stated(meta: Any) -> Trouble:
    """What a task said before ``raise Ignore()``: an exception, or Celery's ``{"exc_type", "exc_message"}``."""
    if isinstance(meta, BaseException):
        return describe(meta, "ignored")
    if not isinstance(meta, dict) or "exc_type" not in meta:
        return Trouble("Ignore", "the task set its own state to FAILURE", "ignored")
    message = meta.get("exc_message", "")
    words = message if isinstance(message, (list, tuple)) else [message]
    module = meta.get("exc_module") or "builtins"
    name = str(meta["exc_type"]) if module == "builtins" else f"{module}.{meta['exc_type']}"
    return Trouble(name, ", ".join(map(str, words))[:MAX_MESSAGE], "ignored")


def _of_the_task(frames: TracebackType | None) -> TracebackType | None:
    # From the task's own function on; what called it is the same for every job.
    first, frame = frames, frames
    while frame is not None:
        if frame.tb_frame.f_globals.get("__name__") in _CALLERS and frame.tb_next is not None:
            first = frame.tb_next
        frame = frame.tb_next
    return first


def describe(error: BaseException, reason: str = "") -> Trouble:
    """The trouble an exception stands for."""
    found = next((text for kind, text in _REASONS.items() if isinstance(error, kind)), "")
    frames = _of_the_task(error.__traceback__)
    lines = "".join(traceback.format_exception(type(error), error, frames))
    try:
        message = str(error)
    except Exception as broken:  # a user's __str__ may raise anything
        message = f"<{type_name(error)} whose text cannot be made: {type(broken).__name__}>"
    return Trouble(
        type_name(error), message[: MAX_MESSAGE + MARGIN], reason or found, lines[-MAX_TRACEBACK - MARGIN :],
        frames=own_frames(frames),
    )  # fmt: skip
