"""Which of the jobs in the table a test means, and how they are shown to whoever reads why it failed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from django.db import models

from taskyard.celery.application import get_app
from taskyard.errors import TaskyardError
from taskyard.jobs import ids
from taskyard.jobs.models import Job, JobQuerySet
from taskyard.tasks import registry
from taskyard.tasks.doors import door
from taskyard.tenancy.directory import name_of

#: A call and its row may tell two moments; nobody delays a job by less.
_SAME_TIME = dt.timedelta(seconds=1)
#: Jobs that a message shows, and characters of each argument.
_SHOWN, _LONGEST = 20, 80


class About(TypedDict, total=False):
    """What may be said of a job beside its task and arguments; what is not said is not looked at."""

    #: Logical queue name.
    queue: str
    #: Name, or django-tenants' object; the empty name is nobody.
    tenant: Any
    #: The row of the project's own that it is about.
    subject: models.Model
    #: As it was given: a timedelta from the enqueue, or an aware datetime; compared to the second.
    run_after: dt.datetime | dt.timedelta


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a test says about jobs."""

    task: str | None
    #: Positional and keyword arguments; None: whatever they are.
    args: Sequence[Any] | None
    kwargs: Mapping[str, Any] | None
    about: About

    def find(self) -> list[Job]:
        """The jobs in the table that it is true of, in order of their making."""
        jobs: JobQuerySet = Job.objects.get_queryset()
        if self.task is not None:
            jobs = jobs.filter(task=self.task)
        if "queue" in self.about:
            jobs = jobs.filter(queue=self.about["queue"])
        if "tenant" in self.about:
            jobs = jobs.for_tenant(name_of(self.about["tenant"]))
        if "subject" in self.about:
            jobs = jobs.for_subject(self.about["subject"])
        return [job for job in jobs.order_by("created_at", "id") if self._is_call(job) and self._is_time(job)]

    def _is_call(self, job: Job) -> bool:
        if self.args is None and self.kwargs is None:
            return True
        wanted = by_name(job.task, [_stored(one) for one in self.args or ()], _stored_values(self.kwargs or {}))
        given = by_name(job.task, job.args, job.kwargs, with_defaults=True)
        return all(name in given and given[name] == value for name, value in wanted.items())

    def _is_time(self, job: Job) -> bool:
        wanted = self.about.get("run_after")
        if wanted is None:
            return True
        moment = job.created_at + wanted if isinstance(wanted, dt.timedelta) else wanted
        return bool(abs(job.available_at - moment) < _SAME_TIME)

    def __str__(self) -> str:
        said = [f"{name}={value!r}" for name, value in self.about.items()]
        if self.args is None and self.kwargs is None:
            call = self.task or "any task"
        else:
            call = shown_call(self.task or "any task", self.args or (), self.kwargs or {})
        return ", ".join([call, *said])


def task_name(task: Any) -> str:
    """The name of a task that is given as Taskyard's, as Celery's, or by name; raises :class:`TaskyardError`."""
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if not isinstance(name, str):
        raise TaskyardError(f"{task!r} is no task: pass what @task or @shared_task returned, or its name.")
    return name


def job_id(job: Any) -> uuid.UUID:
    """The id of a job that is given as one, as Celery's ``AsyncResult``, or by its id."""
    given = getattr(job, "id", job)
    if not isinstance(given, (str, uuid.UUID)):
        raise TaskyardError(f"{job!r} is no job: pass what enqueue() or delay() returned, or its id.")
    return ids.job_id(str(given))


def enqueue(task: Any, args: Sequence[Any], *, kwargs: Mapping[str, Any]) -> Job:
    """The job of a call of any task, ``created`` or found; :class:`~taskyard.errors.DuplicateJob` as the task says."""
    if hasattr(task, "enqueue"):
        job: Job = task.enqueue(*args, **kwargs)
        return job
    known = set(Job.objects.filter(task=task_name(task)).values_list("id", flat=True))
    named = door("celery_task")(task) if isinstance(task, str) else task
    found: Job = Job.objects.get(id=job_id(named.apply_async(tuple(args), dict(kwargs))))
    found.created = found.id not in known
    return found


def by_name(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, with_defaults: bool = False
) -> dict[str, Any]:
    """The arguments of a call by the names of its parameters; by place, for a task that is not known here."""
    signature = _signature(task)
    if signature is not None:
        try:
            bound = signature.bind_partial(*args, **kwargs)
        except TypeError:
            signature = None
    if signature is None:
        return {**{str(place): value for place, value in enumerate(args)}, **kwargs}
    if with_defaults:
        bound.apply_defaults()
    named = {name: _stored(value) for name, value in bound.arguments.items()}
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            named.update(named.pop(name, {}))
    return named


def _signature(task: str) -> inspect.Signature | None:
    declared = registry.find(task)
    if declared is not None:
        return declared.signature
    celerys = get_app().tasks.get(task)
    return None if celerys is None else inspect.signature(celerys.run)


def _stored(value: Any) -> Any:
    # As it comes back from the row: tuples are lists there.
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return value


def _stored_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _stored(value) for name, value in values.items()}


def shown_call(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A call as one would write it."""
    words = [_short(value) for value in args] + [f"{name}={_short(value)}" for name, value in kwargs.items()]
    return f"{task}({', '.join(words)})"


def shown(jobs: Iterable[Job]) -> str:
    """Jobs, a line for each, as a message shows them."""
    lines = [f"  {_line(job)}" for job in jobs]
    more = [f"  … and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([*lines[:_SHOWN], *more])


def _line(job: Job) -> str:
    words = [shown_call(job.task, job.args, job.kwargs), f"queue={job.queue}", job.state]
    if job.tenant:
        words.insert(2, f"tenant={job.tenant}")
    if job.subject_type:
        words.insert(2, f"subject={job.subject_type} {job.subject_id}")
    if job.available_at > job.created_at and job.attempt == 0:
        words.insert(2, f"run_after={job.available_at.isoformat(timespec='seconds')}")
    return "  ".join(words)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
