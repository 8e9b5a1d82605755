"""Background work for Django, single- and multi-tenant, on Celery: the database holds every job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.version import __version__

if TYPE_CHECKING:
    from taskyard.batches import Batch, TrackedModel
    from taskyard.enqueue import EnqueueReport, enqueue_many, enqueue_once
    from taskyard.errors import Discard, DuplicateBatch, DuplicateJob, Retry, Snooze
    from taskyard.jobs.current import current_job
    from taskyard.jobs.progress.callback import progress_callback
    from taskyard.tasks.retry import RetryPolicy
    from taskyard.tasks.task import task

_HOMES = {
    "Batch": "taskyard.batches.models",
    "Discard": "taskyard.errors",
    "DuplicateBatch": "taskyard.errors",
    "DuplicateJob": "taskyard.errors",
    "EnqueueReport": "taskyard.enqueue",
    "Retry": "taskyard.errors",
    "RetryPolicy": "taskyard.tasks.retry",
    "Snooze": "taskyard.errors",
    "TrackedModel": "taskyard.batches.tracked",
    "current_job": "taskyard.jobs.current",
    "enqueue_many": "taskyard.enqueue",
    "enqueue_once": "taskyard.enqueue",
    "progress_callback": "taskyard.jobs.progress.callback",
    "task": "taskyard.tasks.task",
}

__all__ = [
    "Batch",
    "Discard",
    "DuplicateBatch",
    "DuplicateJob",
    "EnqueueReport",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "TrackedModel",
    "__version__",
    "current_job",
    "enqueue_many",
    "enqueue_once",
    "progress_callback",
    "task",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: this package is imported by Django before its models may be.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'taskyard' has no attribute {name!r}")
