"""Whether ``TASKYARD`` can be used, and what workers accept."""

from __future__ import annotations

from collections.abc import Iterator

from taskyard.checks.report import Found
from taskyard.errors import ConfigurationError
from taskyard.settings import get_settings


def check_settings() -> Iterator[Found]:
    """E001: ``TASKYARD`` cannot be used; one message for each problem."""
    try:
        get_settings()
    except ConfigurationError as error:
        for problem in error.problems:
            yield Found("E001", f"TASKYARD: {problem}")


def check_content_types() -> Iterator[Found]:
    """E002: a pickle in a message runs any code; a worker that would accept one does not start."""
    from taskyard.celery import get_app
    from taskyard.celery.worker.quarantine import PICKLE

    if PICKLE & set(get_app().conf.accept_content or ()):
        yield Found(
            "E002", "Workers would accept pickle: who can write to the broker could run any code.",
            "Remove 'pickle' from CELERY_ACCEPT_CONTENT. Arguments and results are JSON.",
        )  # fmt: skip
