"""A new saga that begins with the first steps of another one."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from taskyard import enqueue
from taskyard.jobs.ids import new_id
from taskyard.sagas.declaring import registry
from taskyard.sagas.declaring.definition import Definition
from taskyard.sagas.machine.outcome import Refused
from taskyard.sagas.machine.run import Run, StepRun
from taskyard.sagas.models import Saga, SagaEvent, SagaStep
from taskyard.sagas.plan import Plan
from taskyard.sagas.states import AT_REST, DONE, IN_HAND
from taskyard.sagas.writing import jobs, store
from taskyard.tasks.doors import door


def fork(
    saga_id: uuid.UUID,
    step: str,
    now: dt.datetime,
    *,
    inputs: Mapping[str, Any] | None = None,
    by: str = "",
    tenant: str | None = None,
) -> Saga:
    """Start a saga of the same plan at a step of one that is at rest; what came before the step is taken over.

    The steps before it count as done with the results that they had, and are not run again. From the step on, all of
    them run, with idempotency keys of their own; a step of a group brings its whole group. ``inputs``: all of them;
    the default is those of the saga. Tenant, subject and the user it acts for are the saga's.

    The saga stays as it is, and nothing that it did is undone: not what it did from the step on either. The fork
    compensates only what it ran itself. What it took over remains the other one's: to compensate that one takes the
    ground from under the fork. A fork whose pivot was taken over is past it.

    Raises :class:`~taskyard.sagas.machine.outcome.Refused` for a saga that is on its way, a step before it that has
    not succeeded or was compensated, and where the code has other steps than the saga;
    :class:`~taskyard.errors.NotFound`; ``TypeError`` for inputs that its steps do not take.
    """
    door("load_tasks")()
    with transaction.atomic(using=enqueue.control_alias()):
        row, run = store.read(saga_id, locks=True, tenant=tenant)
        plan = store.plan_of(row.plan)
        definition = _definition_of(row, plan)
        taken = taken_over(plan, run, name=step)
        given = row.inputs if inputs is None else inputs
        definition.refuse_odd_inputs(given)
        new = jobs.new_saga(
            definition, given, now, runner=new_id(), tenant=row.tenant, user=row.user, created_by=by or row.created_by,
            subject_type=row.subject_type, subject_id=row.subject_id, forked_from=row.id,
        )  # fmt: skip
        _write(new, definition, taken, text=f"{row.id} at {step}", who=by)
    return new


def _definition_of(row: Saga, plan: Plan) -> Definition:
    found = registry.find(row.name, row.version)
    if found is None or not found.plan.matches(plan):
        why = "has other steps than it began with" if found is not None else "is not in the code"
        raise Refused(f"version {row.version} of {row.name!r} {why}")
    return found


def taken_over(plan: Plan, run: Run, *, name: str) -> list[StepRun]:
    """What the steps before that one came to."""
    if name not in plan.by_name:
        raise Refused(f"it has no step {name!r}: {', '.join(plan.by_name)}")
    if run.state not in AT_REST:
        raise Refused(f"it is {run.state}: cancel it, or wait until it has ended")
    if held := [each.name for each in run.steps.values() if each.state in IN_HAND]:
        # It needs attention since nothing coordinates it: whoever is in a step of its own is not stopped by that.
        raise Refused(f"a worker is in step {held[0]!r} at this moment")
    taken = []
    for stage in plan.stages:
        if any(step.name == name for step in stage):
            break
        taken += [run.step(step.name) for step in stage]
    for each in taken:
        if each.state not in DONE:
            raise Refused(f"step {each.name!r}, before {name!r}, is {each.state}: what it did is not there to build on")
    return taken


def _write(new: Saga, definition: Definition, taken: list[StepRun], *, text: str, who: str) -> None:
    alias, now = enqueue.control_alias(), new.created_at
    jobs.write_saga(new, definition.plan, now)
    SagaStep.objects.using(alias).bulk_create(
        SagaStep(
            saga=new.id, name=each.name, state=each.state.value, result=each.result, reason=each.reason,
            child=each.child, is_taken_over=True, started_at=each.started_at, finished_at=each.finished_at,
        )
        for each in taken
    )  # fmt: skip
    SagaEvent.objects.using(alias).create(saga=new.id, revision=0, at=now, what="forked", text=text, who=who[:150])
    assert new.runner is not None
    enqueue.write([jobs.of_coordinator(new, new.runner, now)], alias)
