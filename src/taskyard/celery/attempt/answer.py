"""What the pool is told of an attempt; the row says the rest."""

from __future__ import annotations

from typing import Any

from billiard.einfo import ExceptionInfo
from celery.exceptions import Ignore

#: What the pool gets back: whether it failed, the value or error, the run time in seconds.
Answer = tuple[int, Any, float]


def ignored(why: str) -> Answer:
    """Of a message whose job needs nothing more from Celery."""
    return 1, exception_info(Ignore(why)), 0.0


def exception_info(error: BaseException) -> ExceptionInfo:
    """The error as it crosses the pipe to the pool's parent."""
    try:
        raise error
    except BaseException:
        return ExceptionInfo(internal=True)
