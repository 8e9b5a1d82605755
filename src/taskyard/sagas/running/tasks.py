"""The tasks of an orchestrator: one that coordinates its sagas, and one for each step that is a job of its own."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.db import Error as DatabaseError
from django.utils import timezone

from taskyard.errors import Discard, NotFound, Snooze
from taskyard.jobs.current import current_job
from taskyard.sagas.declaring import registry
from taskyard.sagas.declaring.definition import Definition
from taskyard.sagas.declaring.steps import Declared
from taskyard.sagas.machine.events import Stopped
from taskyard.sagas.machine.outcome import Stale
from taskyard.sagas.models import Saga
from taskyard.sagas.running.coordinator import Turn
from taskyard.sagas.writing import jobs, store
from taskyard.tasks import registry as tasks
from taskyard.tasks.retry import RetryPolicy
from taskyard.tasks.task import Task, TaskOptions, check_options

#: While a release is rolled out, workers of the one before take sagas that they cannot run: these wait for others.
ROLL_OUT = dt.timedelta(minutes=5)
_MEANWHILE = dt.timedelta(seconds=5)
#: A step that does not heed the end of its time is killed so much later.
_HEED = dt.timedelta(seconds=5)


def declare_tasks(definition: Definition) -> None:
    """Make them known to workers. All versions of an orchestrator have the same tasks."""
    name = definition.name

    def coordinate(saga: str) -> dict[str, Any]:
        return _coordinate(uuid.UUID(saga))

    options = TaskOptions(
        queue=definition.queue, retry=jobs.RETRY, errors=definition.errors, sensitive=definition.sensitive
    )
    _declare(Task(coordinate, jobs.task_of(name), options), definition)
    for step, declared in definition.steps.items():
        if declared.has_job:
            _declare_step(definition, step, declared)


def _declare_step(definition: Definition, name: str, declared: Declared) -> None:
    def run_step(saga: str, step: str) -> dict[str, Any]:
        return _run_step(uuid.UUID(saga), step)

    limit = declared.options.time_limit
    options = TaskOptions(
        queue=declared.options.queue or definition.queue, sensitive=definition.sensitive, soft_time_limit=limit,
        time_limit=limit + _HEED if limit else None,
        # What the step raises is the saga's.
        retry=RetryPolicy(on=(DatabaseError, OSError), max_retries=jobs.RETRY.max_retries, backoff=jobs.RETRY.backoff),
    )  # fmt: skip
    _declare(Task(run_step, jobs.task_of(definition.name, name), options), definition)


def _declare(task: Task[Any, Any], definition: Definition) -> None:
    check_options(task)
    known = tasks.find(task.name)
    if known is None:
        tasks.register(task)
    elif registry.latest(definition.name) is definition:
        # Celery keeps the first callable of a name, and it is the same one for all versions.
        known.options = task.options


def _coordinate(saga_id: uuid.UUID) -> dict[str, Any]:
    turn = _turn(saga_id)
    turn.run()
    return _told(turn)


def _run_step(saga_id: uuid.UUID, step: str) -> dict[str, Any]:
    turn = _turn(saga_id)
    turn.run_step(step)
    return _told(turn)


def _turn(saga_id: uuid.UUID) -> Turn:
    try:
        row, run = store.read(saga_id)
    except NotFound as gone:
        raise Discard(str(gone)) from gone
    return Turn(saga_id, _definition_of(row), runner=current_job().id, found=(row, run))


def _told(turn: Turn) -> dict[str, Any]:
    return {"saga": str(turn.row.id), "state": turn.row.state}


def _definition_of(row: Saga) -> Definition:
    """The code of the version it began with; where this worker has not that, another may."""
    found = registry.find(row.name, row.version)
    if found is not None and found.plan.matches(store.plan_of(row.plan)):
        return found
    job, now = current_job(), timezone.now()
    since = dt.datetime.fromisoformat((job.checkpoint or {}).get("since") or now.isoformat())
    if now - since < ROLL_OUT:
        job.checkpoint = {"since": since.isoformat()}
        raise Snooze(_MEANWHILE)
    why = "has other steps than it began with" if found is not None else "is not in the code any more"
    text = f"version {row.version} of {row.name!r} {why}: deploy it beside the new one, and resume or compensate"
    try:
        store.tell(row.id, Stopped({"type": "DefinitionGone", "message": text}), now)
    except Stale:
        pass
    raise Discard(text)
