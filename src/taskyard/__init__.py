"""Background work for Django, single- and multi-tenant, on Celery: the database holds every job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.version import __version__

if TYPE_CHECKING:
    from taskyard.enqueue import EnqueueReport, enqueue_many
    from taskyard.errors import Discard, DuplicateJob, Retry, Snooze
    from taskyard.jobs.current import current_job
    from taskyard.tasks.retry import RetryPolicy
    from taskyard.tasks.task import task

_HOMES = {
    "Discard": "taskyard.errors",
    "DuplicateJob": "taskyard.errors",
    "EnqueueReport": "taskyard.enqueue",
    "Retry": "taskyard.errors",
    "RetryPolicy": "taskyard.tasks.retry",
    "Snooze": "taskyard.errors",
    "current_job": "taskyard.jobs.current",
    "enqueue_many": "taskyard.enqueue",
    "task": "taskyard.tasks.task",
}

__all__ = [
    "Discard",
    "DuplicateJob",
    "EnqueueReport",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "__version__",
    "current_job",
    "enqueue_many",
    "task",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: this package is imported by Django before its models may be.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'taskyard' has no attribute {name!r}")
