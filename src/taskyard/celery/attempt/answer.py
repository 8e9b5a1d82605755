"""What the pool is told of an attempt; the row says the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery.exceptions import Ignore, Reject, Retry

from taskyard.celery.attempt.trouble import type_name
from taskyard.celery.results.rebuilt import rebuilt

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


def without_secrets(info: ExceptionInfo, clean: Callable[[str], str]) -> ExceptionInfo:
    """What the pool's parent may tell in events: the error itself, unless a secret is in its text."""
    traceback = clean(info.traceback)
    error = getattr(info.exception, "exc", info.exception)
    if traceback != info.traceback and not isinstance(error, (Ignore, Reject, Retry)):
        info.traceback = traceback
        info.exception = ExceptionWithTraceback(rebuilt(type_name(error), clean(str(error))), traceback)
    return info
