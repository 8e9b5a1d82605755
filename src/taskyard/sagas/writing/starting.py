"""How a saga begins: in the caller's transaction for a worker, or here and now."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connections, models, transaction
from django.utils import timezone

from taskyard import enqueue
from taskyard.enqueue.owner import owner_of
from taskyard.errors import TaskyardError
from taskyard.jobs.ids import new_id
from taskyard.outbox.payload import Notice
from taskyard.runtime.testcase import is_in_test_case
from taskyard.sagas.declaring.definition import Definition
from taskyard.sagas.handle import Handle
from taskyard.sagas.models import Saga
from taskyard.sagas.plan import Plan
from taskyard.sagas.writing import jobs
from taskyard.tasks.task import Task, TaskOptions
from taskyard.tenancy.context import find_tenancy, tenant_context
from taskyard.tenancy.directory import name_of

#: The door that sagas which come from outboxes are handed in at.
KIND = "saga"
#: Of a new one's columns, what its message carries.
_SAID = (
    "name", "version", "plan", "tenant", "queue", "inputs", "subject_type", "subject_id", "created_by", "user",
)  # fmt: skip
_TIMES = ("created_at", "updated_at", "due_at", "deadline_at")


def start(definition: Definition, inputs: Mapping[str, Any], **about: Any) -> Handle:
    """See :meth:`taskyard.sagas.Orchestrator.start`."""
    row, alias = _row(definition, inputs, about), enqueue.alias_of_call()
    if alias != enqueue.control_alias():
        # There it becomes a row once that transaction has committed.
        _put_out(row, definition, alias)
        return Handle(row.id)
    with transaction.atomic(using=alias):
        _write(row, definition.plan)
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
    return jobs.new_saga(definition, inputs, timezone.now(), runner=new_id(), **said)


def _put_out(row: Saga, definition: Definition, alias: str) -> None:
    """Write it into the outbox of another database, in the caller's transaction there."""
    data = {name: getattr(row, name) for name in _SAID} | {name: str(getattr(row, name)) for name in ("id", "runner")}
    data |= {name: None if (at := getattr(row, name)) is None else at.isoformat() for name in _TIMES}
    enqueue.put_notice(Notice(KIND, {**data, "steps": definition.plan.text}), alias)


def take(notice: Notice) -> None:
    """Begin a saga that comes from an outbox, in the relay's transaction; the relay need not have its code."""
    said = dict(notice.data)
    plan = Plan.from_text(said.pop("steps"))
    times = {name: said[name] and dt.datetime.fromisoformat(said[name]) for name in _TIMES}
    _write(Saga(**{**said, **times, "id": uuid.UUID(said["id"]), "runner": uuid.UUID(said["runner"])}), plan)


def _write(row: Saga, plan: Plan) -> None:
    """It and its first job, in the caller's transaction on the control database."""
    assert row.runner is not None
    jobs.write_saga(row, plan, row.created_at)
    enqueue.write([jobs.of_coordinator(row, row.runner, row.created_at)], enqueue.control_alias())


def run_inline(definition: Definition, inputs: Mapping[str, Any], **about: Any) -> Handle:
    """See :meth:`taskyard.sagas.Orchestrator.run_inline`."""
    from taskyard.sagas.running.coordinator import Turn

    for one in connections.all(initialized_only=True):
        if one.in_atomic_block and not is_in_test_case(one.alias):
            raise TaskyardError(
                f"{definition.name!r} cannot run inline within a transaction of {one.alias!r}: what it writes down and "
                "what its steps do have to stay together if that one is rolled back. Leave atomic() first (for a view: "
                "@transaction.non_atomic_requests), or start() it."
            )
    row = _row(definition, inputs, about)
    assert row.runner is not None
    with contextlib.nullcontext() if find_tenancy() is None else tenant_context(row.tenant):
        with transaction.atomic(using=enqueue.control_alias()):
            jobs.write_saga(row, definition.plan, row.created_at)
        turn = Turn(row.id, definition, runner=row.runner, is_inline=True)
        turn.run()
    if turn.error is not None:
        raise _named(turn.error, row.id)
    return Handle(row.id)


def _named(error: BaseException, saga_id: uuid.UUID) -> BaseException:
    """Whoever answers a request with it, or reads it in a log, is told which saga it was and how that stands."""
    state = Saga.objects.values_list("state", flat=True).get(id=saga_id)
    error.add_note(f"In saga {saga_id}, which is {state} now.")
    with contextlib.suppress(AttributeError):
        error.saga_id, error.saga_state = saga_id, state  # type: ignore[attr-defined]
    return error
