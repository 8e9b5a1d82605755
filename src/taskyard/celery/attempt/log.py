"""Celery and we log what went wrong in the words of the project's code: without secrets."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from functools import partial

from celery.utils.saferepr import saferepr

from taskyard.celery.attempt.attempt import current_attempt
from taskyard.jobs.redaction import names_of, redact_text

#: Those that log errors, arguments or results of a task. What a task itself logs is the project's.
LOGGERS = (
    "celery.app.trace", "celery.worker.request", "celery.worker.strategy", "taskyard.celery.attempt.executor",
    "taskyard.celery.worker.request", "taskyard.celery.worker.settler", "taskyard.runtime.loop",
)  # fmt: skip


class Expecting(logging.Filter):
    """Makes one line of an error that its task expects.

    Celery does so by itself if the error can be pickled: one whose class takes other arguments than ``args`` cannot.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        attempt, said = current_attempt(), record.args
        if attempt is None or not isinstance(attempt.raised, attempt.expected):
            return True
        if record.levelno != logging.ERROR or not isinstance(said, dict):
            return True
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        record.exc_info = None
        record.args = record.data = {**said, "description": "raised expected", "exc": saferepr(attempt.raised)}
        return logging.getLogger(record.name).isEnabledFor(logging.INFO)


class Redacting(logging.Filter):
    """Takes secrets out of the records of a logger; one without any passes as it is.

    Of one with a secret in its traceback the text is left, not the exception: a handler could make it into text again.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        clean = cleaner()
        text = record.getMessage()
        if (cleaned := clean(text)) != text:
            record.msg, record.args = cleaned, ()
        if record.exc_info:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if (cleaned := clean(text)) != text:
                record.exc_info, record.exc_text = None, cleaned
        data = getattr(record, "data", None)
        if isinstance(data, dict):
            # What Celery hands to handlers beside the text, arguments among it.
            record.data = {name: clean(value) if isinstance(value, str) else value for name, value in data.items()}
        return True


def cleaner() -> Callable[[str], str]:
    """Takes secrets out of texts about the job that runs here, if one does."""
    attempt = current_attempt()
    if attempt is None:
        return redact_text
    return partial(redact_text, secrets=attempt.running.secrets(), names=names_of(attempt.claim.task))


def install() -> None:
    """Once in a process, whatever its logging is set to: filters of a logger survive that."""
    # What is left of a record is cleaned.
    _add(Expecting, logging.getLogger(LOGGERS[0]))
    for name in LOGGERS:
        _add(Redacting, logging.getLogger(name))


def _add(kind: type[logging.Filter], logger: logging.Logger) -> None:
    if not any(isinstance(known, kind) for known in logger.filters):
        logger.addFilter(kind())
