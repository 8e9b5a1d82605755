"""The jobs of a saga, and its own row when it begins."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from typing import Any

from taskyard.enqueue import control_alias, resolve_queue, seconds
from taskyard.errors import UnknownOrchestrator
from taskyard.jobs.current import find_current_job
from taskyard.jobs.ids import new_id
from taskyard.jobs.rows.newjob import NewJob
from taskyard.sagas.declaring import registry
from taskyard.sagas.declaring.definition import Definition
from taskyard.sagas.declaring.steps import ChildStep
from taskyard.sagas.machine.outcome import StartSaga, WriteJob
from taskyard.sagas.machine.working import CHECK_AFTER
from taskyard.sagas.models import Saga, SagaPlan
from taskyard.sagas.plan import Plan
from taskyard.settings import get_settings
from taskyard.tasks.payload import encode_arguments
from taskyard.tasks.retry import RetryPolicy

#: Of the jobs themselves: what the project's steps raise is the saga's, so this is for a database that is away.
RETRY = RetryPolicy(max_retries=20, backoff=dt.timedelta(seconds=1), backoff_max=dt.timedelta(minutes=1))
#: What the jobs of a saga are about.
SUBJECT = "taskyard.saga"


def task_of(name: str, step: str = "") -> str:
    """The task whose jobs coordinate an orchestrator's sagas, or run one of its steps."""
    slug = registry.slug_of(name)
    return f"saga.{slug}__{step}" if step else f"saga.{slug}"


def of_coordinator(row: Saga, job_id: uuid.UUID, now: dt.datetime) -> NewJob:
    """The job that goes on with a saga."""
    return _job(row, job_id, now, task=task_of(row.name), queue=row.queue, kwargs={"saga": str(row.id)})


def of_step(row: Saga, order: WriteJob, now: dt.datetime) -> NewJob:
    """The job of a step, or of its compensation."""
    found = registry.find(row.name, row.version)
    if found is None:
        raise UnknownOrchestrator(row.name)
    options = found.steps[order.step].options
    task = task_of(row.name, order.step)
    new = _job(
        row, order.job, now, task=task, queue=resolve_queue(options.queue or row.queue, task),
        kwargs={"saga": str(row.id), "step": order.step},
    )  # fmt: skip
    new.time_limit = seconds(options.time_limit)
    return new


def _job(row: Saga, job_id: uuid.UUID, now: dt.datetime, *, task: str, queue: str, kwargs: Mapping[str, Any]) -> NewJob:
    running = find_current_job()
    return NewJob(
        id=job_id, task=task, queue=queue, created_at=now, available_at=now, kwargs=json.dumps(kwargs),
        tenant=row.tenant, max_attempts=RETRY.max_retries + 1, subject_type=SUBJECT, subject_id=str(row.id),
        created_by=row.created_by, parent=running.id if running else None, root=running.root if running else job_id,
    )  # fmt: skip


def refuse_odd_json(definition: Definition, inputs: Mapping[str, Any]) -> None:
    """Raise what enqueueing with these arguments does."""
    encode_arguments(task_of(definition.name), (), inputs, get_settings().max_payload_bytes)


def new_saga(definition: Definition, inputs: Mapping[str, Any], now: dt.datetime, **about: Any) -> Saga:
    """The row of a new saga, not written yet; raises what enqueueing with these arguments does."""
    name = definition.name
    refuse_odd_json(definition, inputs)
    return Saga(
        id=about.pop("id", None) or new_id(), name=name, version=definition.version, plan=definition.plan.digest,
        queue=resolve_queue(definition.queue, task_of(name)), inputs=dict(inputs), created_at=now, updated_at=now,
        due_at=now + CHECK_AFTER, deadline_at=now + definition.deadline if definition.deadline else None, **about,
    )  # fmt: skip


def write_saga(row: Saga, plan: Plan, now: dt.datetime) -> None:
    """Insert it, and its plan if that is new, in the caller's transaction."""
    alias = control_alias()
    SagaPlan.objects.using(alias).bulk_create(
        [SagaPlan(digest=plan.digest, name=plan.name, version=plan.version, steps=plan.text, created_at=now)],
        ignore_conflicts=True,
    )  # fmt: skip
    row.save(using=alias, force_insert=True)


def start_within(parent: Saga, order: StartSaga, now: dt.datetime) -> NewJob:
    """Write the saga within a step, in the caller's transaction; returns the job that runs it."""
    found = registry.find(parent.name, parent.version)
    if found is None:
        raise UnknownOrchestrator(parent.name)
    step = found.steps[order.step]
    assert isinstance(step, ChildStep)
    definition = step.orchestrator.definition
    row = new_saga(
        definition, order.inputs, now, id=order.child, runner=new_id(), tenant=parent.tenant, user=parent.user,
        created_by=parent.created_by, parent=parent.id, parent_step=order.step, subject_type=parent.subject_type,
        subject_id=parent.subject_id,
    )  # fmt: skip
    write_saga(row, definition.plan, now)
    assert row.runner is not None
    return of_coordinator(row, row.runner, now)
