"""The backend: Django's tasks as jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from django.apps import apps
from django.core import checks

from taskyard.backend.announcing import Announcement
from taskyard.backend.api import (
    DEFAULT_TASK_QUEUE_NAME,
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    normalize_json,
)
from taskyard.backend.declaring import call_of, declare, problem_of
from taskyard.backend.task import TaskyardTask
from taskyard.errors import ConfigurationError, NotJson
from taskyard.settings import get_settings
from taskyard.tasks.doors import door
from taskyard.tenancy.context import current_tenant

P = ParamSpec("P")
R = TypeVar("R")


class TaskyardBackend(BaseTaskBackend):
    """``TASKS = {"default": {"BACKEND": "taskyard.backend.TaskyardBackend"}}``.

    A task that is enqueued is a job: written in the caller's transaction, it exists exactly if that commits, and then
    runs at least once. ``OPTIONS`` hold options of ``taskyard.task`` for all tasks of the alias. Results are read from
    the job's row, which is kept as long as ``TASKYARD["RETENTION"]`` says; to a tenant, those of others do not exist.
    """

    task_class = TaskyardTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def validate_task(self, task: AnyTask) -> None:
        """Raise ``InvalidTask`` for a task that cannot work; make one that can known to workers."""
        super().validate_task(task)
        declare(task, self.options)

    def enqueue(self, task: Task[P, R], args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult[P, R]:
        """Write a job for this call in the caller's transaction; its result, as it stands now.

        Raises what :meth:`taskyard.tasks.task.Task.enqueue` raises. Where an unfinished job has the same unique key,
        that one's result is returned, and ``task_enqueued`` is not sent.
        """
        # Late, here and below: a backend is made before Django has loaded our models.
        from taskyard.backend.results import result_of
        from taskyard.jobs.models import Job

        self.validate_task(task)
        args = [_plain(task, f"argument {place}", value) for place, value in enumerate(args, 1)]
        kwargs = {name: _plain(task, f"argument {name!r}", value) for name, value in kwargs.items()}
        with Announcement(task, args=args, kwargs=kwargs) as announcement:
            job = call_of(task).enqueue(*args, **kwargs)
            if job.created:
                announcement.send(job.id)
        if door("is_eager")():
            job = Job.objects.filter(id=job.id).first() or job
        return cast("TaskResult[P, R]", result_of(job, task, backend=self.alias))

    def get_result(self, result_id: str) -> AnyResult:
        """The result of a job of one of Django's tasks, whatever enqueued it; raises ``TaskResultDoesNotExist``."""
        from taskyard.backend.results import stored_result
        from taskyard.jobs.ids import job_id
        from taskyard.jobs.models import Job

        job = Job.objects.visible_to(current_tenant() or None).filter(id=job_id(str(result_id))).first()
        if job is None:
            raise TaskResultDoesNotExist(result_id)
        result = stored_result(job, backend=self.alias)
        if result is None:
            raise TaskResultDoesNotExist(f"Job {job.id} runs {job.task!r}, which is no task of Django's here.")
        return result

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """E051: the app is missing. E052: ``OPTIONS`` cannot be used. W051: a queue that nobody declared."""
        where = f"TASKS[{self.alias!r}]"
        found: list[checks.CheckMessage] = []
        if not apps.is_installed("taskyard"):
            found.append(
                checks.Error(
                    f"{where} names TaskyardBackend, and its app is not installed.",
                    hint="Add 'taskyard' to INSTALLED_APPS and run migrate.",
                    id="taskyard.E051",
                )
            )
        if problem := problem_of(self.options, self.alias):
            found.append(checks.Error(problem, id="taskyard.E052"))
        for queue in _undeclared(self.queues):
            found.append(
                checks.Warning(
                    f"{where}['QUEUES'] names {queue!r}, which TASKYARD['QUEUES'] does not.",
                    hint=f"Add {queue!r} to TASKYARD['QUEUES'], and a worker for it, or take it out here.",
                    id="taskyard.W051",
                )
            )
        return found


def _undeclared(queues: Iterable[str]) -> list[str]:
    try:
        settings = get_settings()
    except ConfigurationError:
        return []
    known = {DEFAULT_TASK_QUEUE_NAME, *settings.queues, *settings.handover}
    return sorted(set(queues) - known) if settings.queues else []


def _plain(task: AnyTask, where: str, value: Any) -> Any:
    try:
        return normalize_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(task.module_path, where, str(error)) from error
