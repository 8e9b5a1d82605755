"""For views and admin actions that start work once: who comes second is told that it is already running."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import resolve_url

from taskyard.batches.models import Batch
from taskyard.enqueue import enqueue_once
from taskyard.jobs.models import Job
from taskyard.settings import get_settings
from taskyard.tasks.task import Task


@dataclasses.dataclass(frozen=True, slots=True)
class Guard:
    """What a view has started, or found running; the answers to both."""

    #: The job, or the batch.
    running: Job | Batch
    #: Whether this call started it.
    created: bool

    @property
    def job(self) -> Job:
        """The job; raises ``TypeError`` for a batch."""
        if not isinstance(self.running, Job):
            raise TypeError(f"{self.running} is a batch")
        return self.running

    @property
    def sentence(self) -> str:
        """For a person: what was started, or that it is already running."""
        name = self.running.task if isinstance(self.running, Job) else self.running.name
        return f"{name} was started." if self.created else f"{name} is already running."

    def response(self, *, status: int | None = None, **more: Any) -> JsonResponse:
        """JSON: ``created``, ``state``, ``detail``, the id as ``job`` or ``batch``, and ``more``.

        202 for what was started; for what was running ``status``, else ``TASKYARD["DUPLICATE_STATUS"]`` (409).
        """
        kind = "job" if isinstance(self.running, Job) else "batch"
        about = {kind: str(self.running.id), "state": self.running.state, "created": self.created}
        refused = get_settings().duplicate_status if status is None else status
        return JsonResponse({**about, "detail": self.sentence, **more}, status=202 if self.created else refused)

    def redirect(self, to: str | Callable[[Any], str], *args: Any, **kwargs: Any) -> HttpResponse:
        """A redirect to the page of what is running: started now or before makes no difference to it.

        ``to`` is a URL, the name of one with its arguments, or a callable of the job or batch.
        """
        address = to(self.running) if callable(to) else resolve_url(to, *args, **kwargs)
        return HttpResponseRedirect(address)


def guard(request: HttpRequest | None, task: Task[..., Any], subject: models.Model, /, **kwargs: Any) -> Guard:
    """Enqueue this call about ``subject``, or find the one that is running: of a double click, one starts a job.

    ``created_by`` is the user of the request, unless the call says another. See
    :func:`taskyard.enqueue.enqueue_once` for the key, which a unique index holds, and for what it does not see.
    """
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated and task.call.created_by is None:
        task = task.using(created_by=user)
    job = enqueue_once(task, subject, **kwargs)
    return Guard(job, job.created)


async def aguard(request: HttpRequest | None, task: Task[..., Any], subject: models.Model, /, **kwargs: Any) -> Guard:
    """:func:`guard` for asynchronous views."""
    # A lazy user asks the database, which only the thread may.
    found: Guard = await sync_to_async(guard, thread_sensitive=True)(request, task, subject, **kwargs)
    return found
