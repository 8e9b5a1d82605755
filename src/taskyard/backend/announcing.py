"""``task_enqueued``, once for each call that wrote a job."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextvars import ContextVar, Token
from typing import Any

from django.utils import timezone

from taskyard.backend.api import AnyTask, TaskResult, TaskResultStatus, task_enqueued


class Announcement:
    """Context manager around an enqueue: whoever first knows that the job exists sends the signal.

    That is the caller, or the job's own body where it runs at once, before the caller has its answer.
    """

    def __init__(self, task: AnyTask, *, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self.task, self.args, self.kwargs = task, args, kwargs
        self._is_sent = False

    def __enter__(self) -> Announcement:
        self._token: Token[Announcement | None] = _open.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _open.reset(self._token)

    def send(self, job_id: uuid.UUID) -> None:
        """Tell observers of this job, if that was not done."""
        if self._is_sent:
            return
        self._is_sent = True
        result: Any = TaskResult(
            task=self.task, id=str(job_id), status=TaskResultStatus.READY, enqueued_at=timezone.now(), started_at=None,
            finished_at=None, last_attempted_at=None, args=list(self.args), kwargs=self.kwargs,
            backend=self.task.backend, errors=[], worker_ids=[],
        )  # fmt: skip
        task_enqueued.send_robust(sender=type(self.task.get_backend()), task_result=result)


_open: ContextVar[Announcement | None] = ContextVar("taskyard_announcement", default=None)


def announce_at_last(task: str, job_id: uuid.UUID) -> None:
    """The body of this job begins: its enqueue may still be under way, in eager mode."""
    announcement = _open.get()
    if announcement is not None and announcement.task.module_path == task:
        announcement.send(job_id)
