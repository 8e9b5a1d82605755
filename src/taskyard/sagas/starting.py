"""How a saga begins: in the caller's transaction for a worker, or here and now."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connections, models, transaction
from django.utils import timezone

from taskyard import enqueue
from taskyard.enqueue.owner import owner_of
from taskyard.errors import TaskyardError
from taskyard.jobs.ids import new_id
from taskyard.runtime.testcase import is_in_test_case
from taskyard.sagas import jobs
from taskyard.sagas.declaring.definition import Definition
from taskyard.sagas.handle import Handle
from taskyard.sagas.models import Saga
from taskyard.tasks import registry as tasks
from taskyard.tasks.task import Task, TaskOptions
from taskyard.tenancy.directory import name_of


def start(definition: Definition, inputs: Mapping[str, Any], **about: Any) -> Handle:
    """See :meth:`taskyard.sagas.Orchestrator.start`."""
    row, control = _row(definition, inputs, about), enqueue.control_alias()
    if enqueue.alias_of_call() != control:
        return _by_outbox(row, definition)
    with transaction.atomic(using=control):
        row.runner = new_id()
        jobs.write_saga(row, definition, row.created_at)
        enqueue.write([jobs.of_coordinator(row, row.runner, row.created_at)], control)
    return Handle(row.id)


def _row(definition: Definition, inputs: Mapping[str, Any], about: Mapping[str, Any]) -> Saga:
    definition.refuse_odd_inputs(inputs)
    user, subject, by = about.get("user"), about.get("subject"), about.get("created_by")
    if user is not None and user.pk is None:
        raise TaskyardError(f"user={user!r} is not saved yet: a saga refers to its key.")
    said: dict[str, Any] = {"user": "" if user is None else str(user.pk)}
    by = user if by is None else by
    said["created_by"] = "" if by is None else str(by.pk if isinstance(by, models.Model) else by)[:150]
    if subject is not None:
        if subject.pk is None:
            raise TaskyardError(f"subject={subject!r} is not saved yet: save it first, a saga refers to its key.")
        said |= {"subject_type": subject._meta.label_lower, "subject_id": str(subject.pk)}
    asked = about.get("tenant")
    task = Task(start, f"saga.{definition.name}", TaskOptions(tenant_from=definition.tenant_from))
    said["tenant"] = owner_of(task, None if asked is None else name_of(asked), arguments=lambda: inputs)
    return jobs.new_saga(definition, inputs, timezone.now(), **said)


def _by_outbox(row: Saga, definition: Definition) -> Handle:
    # In the transaction of a tenant's own database there is only its outbox: the row is written by the first job.
    task = tasks.get(jobs.task_of(definition.name)).using(subject=row, tenant=row.tenant, created_by=row.created_by)
    begin = {
        name: getattr(row, name)
        for name in ("name", "version", "inputs", "user", "created_by", "subject_type", "subject_id", "tenant")
    }
    task.enqueue(saga=str(row.id), begin=begin)
    return Handle(row.id)


def begin(definition: Definition, saga_id: uuid.UUID, *, runner: uuid.UUID, said: Mapping[str, Any]) -> None:
    """Write the row of a saga that was started by an outbox, unless an earlier attempt has."""
    now = timezone.now()
    about = {name: value for name, value in said.items() if name not in ("name", "version", "inputs")}
    with transaction.atomic(using=enqueue.control_alias()):
        row = jobs.new_saga(definition, said["inputs"], now, id=saga_id, runner=runner, **about)
        jobs.write_saga(row, definition, now)


def run_inline(definition: Definition, inputs: Mapping[str, Any], **about: Any) -> Handle:
    """See :meth:`taskyard.sagas.Orchestrator.run_inline`."""
    from taskyard.sagas.coordinator import Turn

    control = enqueue.control_alias()
    if connections[control].in_atomic_block and not is_in_test_case(control):
        raise TaskyardError(
            f"{definition.name!r} cannot run inline within a transaction of {control!r}: what it writes down has to "
            "stay if that one is rolled back. Leave atomic() first (for a view: @transaction.non_atomic_requests), or "
            "start() it."
        )
    row = _row(definition, inputs, about)
    row.runner = new_id()
    with transaction.atomic(using=control):
        jobs.write_saga(row, definition, row.created_at)
    turn = Turn(row.id, definition, runner=row.runner, is_inline=True)
    turn.run()
    if turn.error is not None:
        raise _named(turn.error, row.id)
    return Handle(row.id)


def _named(error: BaseException, saga_id: uuid.UUID) -> BaseException:
    """Whoever answers a request with it, or reads it in a log, is told which saga it was and how that stands."""
    state = Handle(saga_id).state
    error.add_note(f"In saga {saga_id}, which is {state} now.")
    with contextlib.suppress(AttributeError):
        error.saga_id, error.saga_state = saga_id, state  # type: ignore[attr-defined]
    return error
