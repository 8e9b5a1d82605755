"""Making a task of Django known to workers, which run what our registry names."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from taskyard.backend.api import DEFAULT_TASK_QUEUE_NAME, AnyTask, InvalidTask, Task
from taskyard.backend.body import Body
from taskyard.backend.task import CALLED, DECLARED, OPTIONS, TaskyardTask, refuse_unknown
from taskyard.errors import InvalidTask as OurInvalidTask
from taskyard.tasks import registry
from taskyard.tasks.task import Task as Declared
from taskyard.tasks.task import TaskOptions, check_options


def declare(task: AnyTask, defaults: Mapping[str, Any]) -> None:
    """Register the task under its module path, with its options; nothing where that was done.

    Touches no models and no Celery app: this happens while modules are imported. Raises Django's ``InvalidTask``.
    """
    if registry.find(task.module_path) is not None:
        return
    task = _as_written(task)
    said = {name: getattr(task, name, None) for name in DECLARED}
    options = {**defaults, **{name: value for name, value in said.items() if value is not None}}
    try:
        refuse_unknown(_where(task.backend), defaults, known=OPTIONS)
        registry.register(_declared(task, options))
    except (OurInvalidTask, TypeError) as error:
        raise InvalidTask(str(error)) from error


def problem_of(options: Mapping[str, Any], alias: str) -> str:
    """What is wrong with the ``OPTIONS`` of an alias; empty if nothing is."""
    try:
        refuse_unknown(_where(alias), options, known=OPTIONS)
        # Any function will do: they name no arguments.
        check_options(Declared(_where, _where(alias), TaskOptions(**options)))
    except OurInvalidTask as error:
        return f"{_where(alias)}: {error.problem}"
    except TypeError as error:
        return str(error)
    return ""


def _where(alias: str) -> str:
    return f"TASKS[{alias!r}]['OPTIONS']"


def _declared(task: AnyTask, options: Mapping[str, Any]) -> Declared[..., Any]:
    queue = None if task.queue_name == DEFAULT_TASK_QUEUE_NAME else task.queue_name
    priority = int(task.priority)
    declared = Declared(Body(task), task.module_path, TaskOptions(queue=queue, priority=priority, **options))
    check_options(declared)
    return declared


def call_of(task: AnyTask) -> Declared[..., Any]:
    """Our declaration of a task of Django, with what this call says."""
    declared = registry.get(task.module_path)
    said = {name: getattr(task, name, None) for name in CALLED}
    call = {name: value for name, value in said.items() if value is not None}
    queue = None if task.queue_name == DEFAULT_TASK_QUEUE_NAME else task.queue_name
    return declared.using(queue_name=queue, priority=int(task.priority), run_after=_moment(task.run_after), **call)


def _moment(run_after: dt.datetime | None) -> dt.datetime | None:
    # Without USE_TZ, Django's times are naive and of its own zone.
    is_naive = run_after is not None and timezone.is_naive(run_after)
    return timezone.make_aware(run_after) if run_after is not None and is_naive else run_after


def _as_written(task: AnyTask) -> AnyTask:
    """The task that stands in the module: what ``using()`` makes of it is not what workers find there.

    Raises ``InvalidTask`` if that one is for another backend: workers would not know it.
    """
    written = getattr(sys.modules.get(task.func.__module__), task.func.__qualname__, None)
    if not isinstance(written, Task) or written.func is not task.func:
        return task
    if not issubclass(type(written.get_backend()).task_class, TaskyardTask):
        other = type(written.get_backend()).__name__
        raise InvalidTask(
            f"{task.module_path} is declared for TASKS[{written.backend!r}] ({other}), so that our workers do not know "
            f"it: declare it with @task(backend={task.backend!r})."
        )
    return written
