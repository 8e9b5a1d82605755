"""A job's row as Django's ``TaskResult``."""

from __future__ import annotations

import builtins
import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.module_loading import import_string

from taskyard.backend.api import (
    DEFAULT_TASK_QUEUE_NAME,
    AnyResult,
    AnyTask,
    Task,
    TaskError,
    TaskResult,
    TaskResultStatus,
)
from taskyard.backend.body import body_of
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.states import State
from taskyard.settings import get_settings
from taskyard.tasks.doors import door

#: Django knows no state of a job that waits for its time, that was cancelled, or whose body handed over to others.
STATUSES: Mapping[str, TaskResultStatus] = {
    State.PENDING: TaskResultStatus.READY,
    State.QUEUED: TaskResultStatus.READY,
    State.RETRYING: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.WAITING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.FAILED: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
}
#: The class behind a name that is stored without its module.
_CLASSES: Mapping[str, str] = {
    "Cancelled": "taskyard.errors.JobCancelled",
    "TimeLimitExceeded": "billiard.exceptions.TimeLimitExceeded",
    "WorkerLost": "billiard.exceptions.WorkerLostError",
    "Retry": "taskyard.errors.Retry",
    "Reject": "celery.exceptions.Reject",
    "Ignore": "celery.exceptions.Ignore",
    "taskyard.celery.attempt.body.TaskExited": "builtins.SystemExit",
}
#: Attempts that ended without anything having gone wrong.
_NO_ERRORS = frozenset({"Snoozed", "Released"})
#: Between an exception and the one that was raised from it.
_FROM = "\nThe above exception was the direct cause"


def result_of(job: Job, task: AnyTask, *, backend: str) -> AnyResult:
    """What the row says, for a task of Django; one read more where an attempt did not succeed."""
    ended = ended_attempts(job.id) if _has_ended_badly(job) else []
    result: AnyResult = TaskResult(
        task=task,
        id=str(job.id),
        status=STATUSES[job.state],
        enqueued_at=job.created_at,
        started_at=ended[0].started_at if ended else job.started_at,
        finished_at=job.finished_at,
        last_attempted_at=job.started_at,
        args=job.args,
        kwargs=job.kwargs,
        backend=backend,
        errors=[*errors_of(ended), *_own_error(job, ended)],
        worker_ids=[*workers_of(ended), *_own_worker(job)],
    )
    object.__setattr__(result, "_return_value", job.result if job.state == State.SUCCEEDED else None)
    return result


def stored_result(job: Job, *, backend: str) -> AnyResult | None:
    """The same of a row that was read; None if what it runs is no task of Django's."""
    task = _find_task(job.task)
    if task is None:
        return None
    run_after = job.available_at if job.attempt == 0 and job.available_at > job.created_at else None
    as_called = called(task, priority=job.priority, queue=job.queue, run_after=run_after)
    return result_of(job, as_called, backend=backend)


def _find_task(name: str) -> AnyTask | None:
    # The task that is written under that path; who only looks at results may not have imported its module.
    body = body_of(name)
    if body is not None:
        return body.task
    try:
        found = import_string(name)
    except ImportError:
        return None
    return found if isinstance(found, Task) else None


def called(task: AnyTask, *, priority: int, queue: str, run_after: dt.datetime | None = None) -> AnyTask:
    """The task as it was called: with this priority, for this queue and time."""
    changes: dict[str, Any] = {"priority": priority, "run_after": run_after}
    allowed = task.get_backend().queues
    if queue != queue_of(task.queue_name, task.module_path) and (queue in allowed or not allowed):
        changes["queue_name"] = queue
    is_changed = any(getattr(task, name) != value for name, value in changes.items())
    return dataclasses.replace(task, **changes) if is_changed else task


def queue_of(queue_name: str, task: str) -> str:
    """The logical queue behind Django's name of it."""
    queue: str = door("route")(task) if queue_name == DEFAULT_TASK_QUEUE_NAME else queue_name
    return queue


def ended_attempts(job_id: uuid.UUID) -> list[Attempt]:
    """The attempts that did not succeed, in their order."""
    rows = Attempt.objects.using(get_settings().database).filter(job_id=job_id)
    return list(rows.order_by("number", "id"))


def errors_of(attempts: Sequence[Attempt]) -> list[TaskError]:
    """What went wrong in each of them."""
    return [
        TaskError(exception_class_path=_path(one.error_type), traceback=_traceback(one))
        for one in attempts
        if one.error_type not in _NO_ERRORS
    ]


def workers_of(attempts: Sequence[Attempt]) -> list[str]:
    """Who made each of them; empty where that is not known."""
    return [str(one.worker or "") for one in attempts]


def _has_ended_badly(job: Job) -> bool:
    is_first = job.attempt <= 1 and job.state in (State.RUNNING, State.WAITING, State.SUCCEEDED)
    return job.attempt > 0 and not is_first


def _own_worker(job: Job) -> list[str]:
    # Of the attempt that runs or that succeeded: the others have left a record.
    has_one = job.state in (State.RUNNING, State.WAITING, State.SUCCEEDED)
    return [str(job.worker or "")] if has_one else []


def _own_error(job: Job, ended: Sequence[Attempt]) -> list[TaskError]:
    # Of a job that ended without an attempt of its own having ended: cancelled before it began, say.
    error: dict[str, Any] = job.error or {}
    if STATUSES[job.state] != TaskResultStatus.FAILED or any(one.number == job.attempt for one in ended):
        return []
    kind = str(error.get("type") or "Exception")
    words = ": ".join(filter(None, (_path(kind), str(error.get("message") or error.get("reason") or ""))))
    return [TaskError(exception_class_path=_path(kind), traceback=f"{words}\n")]


def _path(kind: str) -> str:
    if kind in _CLASSES or "." in kind:
        return _CLASSES.get(kind, kind)
    return f"builtins.{kind if hasattr(builtins, kind) else 'Exception'}"


def _traceback(attempt: Attempt) -> str:
    text = attempt.traceback or f"{_path(attempt.error_type)}: {attempt.error_message}\n"
    # Ours stands around the task's own sys.exit(), which would end a worker.
    return text.partition(_FROM)[0] if _path(attempt.error_type) == "builtins.SystemExit" else text
