"""What a worker runs for a task of Django, and what observers are told of it."""

from __future__ import annotations

import functools
import inspect
import uuid
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from taskyard import events
from taskyard.backend.announcing import announce_at_last
from taskyard.backend.api import (
    AnyResult,
    AnyTask,
    TaskContext,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from taskyard.errors import NoCurrentJob
from taskyard.jobs.states import FINAL, State
from taskyard.tasks import registry

if TYPE_CHECKING:
    from taskyard.execution.claim import Claim


class Body:
    """The function behind the declaration: calls Django's task, with its context, and tells that it starts."""

    def __init__(self, task: AnyTask) -> None:
        functools.update_wrapper(self, task.func)
        self.task = task
        signature = inspect.signature(task.func)
        if task.takes_context:
            # Whoever enqueues does not give it.
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        self.__signature__ = signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it as the job that runs here; called directly, outside of a job, it is the plain function."""
        # Late: tasks are declared before Django has loaded our models.
        from taskyard.celery.attempt.attempt import current_attempt

        attempt = current_attempt()
        if attempt is None or attempt.claim.task != self.task.module_path:
            if self.task.takes_context:
                raise NoCurrentJob
            return self.task.call(*args, **kwargs)
        announce_at_last(self.task.module_path, attempt.claim.id)
        result = _starting(self.task, attempt.claim, args=args, kwargs=kwargs)
        task_started.send_robust(sender=type(self.task.get_backend()), task_result=result)
        context = (TaskContext(task_result=result),) if self.task.takes_context else ()
        with _Ran(attempt.claim, result) as ran:
            ran.answer = normalize_json(self.task.call(*context, *args, **kwargs))
        return ran.answer


def body_of(name: str) -> Body | None:
    """The body of the task of Django that is known here by that name, or None."""
    declared = registry.find(name)
    return declared.func if declared is not None and isinstance(declared.func, Body) else None


class _Ran:
    """The body that ran here last: what it is about, what it returned or how it raised."""

    answer: Any = None
    error: BaseException | None = None

    def __init__(self, claim: Claim, result: AnyResult) -> None:
        self.job_id, self.attempt, self.result = claim.id, claim.attempt, result

    def __enter__(self) -> _Ran:
        _ran.set(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self.error = error


_ran: ContextVar[_Ran | None] = ContextVar("taskyard_django_task", default=None)


def _starting(task: AnyTask, claim: Claim, *, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AnyResult:
    from taskyard.backend.results import called, ended_attempts, errors_of, workers_of

    # The first attempt needs nothing that the claim did not bring.
    ended = ended_attempts(claim.id) if claim.attempt > 1 else []
    return TaskResult(
        task=called(task, priority=claim.priority, queue=claim.queue),
        id=str(claim.id),
        status=TaskResultStatus.RUNNING,
        enqueued_at=claim.created_at,
        started_at=ended[0].started_at if ended else claim.started_at,
        finished_at=None,
        last_attempted_at=claim.started_at,
        args=list(args),
        kwargs=kwargs,
        backend=task.backend,
        errors=errors_of(ended),
        worker_ids=[*workers_of(ended), str(claim.worker)],
    )


def tell_finished(*, job_id: uuid.UUID, task: str, attempt: int, state: str, **_: Any) -> None:
    """Pass on that a job of Django's tasks has ended: in the process that wrote its end, once that has committed."""
    from taskyard.backend.results import stored_result
    from taskyard.jobs.models import Job

    body, ran = body_of(task), _ran.get()
    is_own = ran is not None and (ran.job_id, ran.attempt) == (job_id, attempt)
    if is_own:
        # Its error holds on to all that the body's frames do.
        _ran.set(None)
    if body is None or state not in FINAL:
        return
    if ran is not None and is_own and state == State.SUCCEEDED:
        result: AnyResult | None = _finished(ran)
    else:
        # Of this attempt, or where its child is gone: what was written.
        result = stored_result(Job.objects.get(id=job_id), backend=body.task.backend)
    _send(type(body.task.get_backend()), result, ran.error if ran is not None and is_own else None)


def _finished(ran: _Ran) -> AnyResult:
    for name, value in (
        ("status", TaskResultStatus.SUCCESSFUL), ("finished_at", timezone.now()), ("_return_value", ran.answer),
    ):  # fmt: skip
        object.__setattr__(ran.result, name, value)
    return ran.result


def _send(sender: type, result: AnyResult | None, error: BaseException | None) -> None:
    if error is None:
        task_finished.send_robust(sender=sender, task_result=result)
        return
    try:
        raise error
    except type(error):
        # Django logs the exception that is being handled.
        task_finished.send_robust(sender=sender, task_result=result)
    finally:
        # Else this frame and the error would keep each other.
        del error


events.job_settled.connect(tell_finished, dispatch_uid="taskyard.backend")
