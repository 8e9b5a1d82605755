"""Sees to it that no saga is forgotten: wakes those whose time has come, and finds those that nobody has in hand."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import Error as DatabaseError
from django.db import transaction

from taskyard.enqueue import control_alias
from taskyard.jobs.models import Job
from taskyard.jobs.states import FINAL as JOB_FINAL
from taskyard.jobs.states import State
from taskyard.runtime.faults import fault_point
from taskyard.sagas.machine.advance import is_due
from taskyard.sagas.machine.events import Cancel, Event, JobGone, Looked, RunnerGone, SagaEnded
from taskyard.sagas.machine.outcome import Refused, Stale, UndoSaga
from taskyard.sagas.machine.run import Run, StepRun
from taskyard.sagas.machine.working import CHECK_AFTER
from taskyard.sagas.models import Saga
from taskyard.sagas.states import AT_REST, FINAL, IN_HAND, IN_LINE, SagaState, StepState
from taskyard.sagas.writing import store

logger = logging.getLogger(__name__)

#: Sagas of one turn.
BATCH = 200
#: How long nothing may be heard of an inline run, beside the time limit of the step that it is in.
INLINE_LEASE = dt.timedelta(seconds=30)


class Keeper:
    """Any number of them may run: a saga that one looks at, or that is being moved, is passed over by the others."""

    name = "keeper"
    channels: Sequence[str] = ()

    def run_once(self, now: dt.datetime) -> int:
        """Look at some of the sagas that are due; how many were moved."""
        due = Saga.objects.due(now).order_by("due_at").values_list("id", flat=True)[:BATCH]
        return sum(_look_surely(saga_id, now) for saga_id in list(due))

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """So late are timers, retries of steps and time-outs of signals."""
        return dt.timedelta(milliseconds=100) if done else dt.timedelta(seconds=1)

    def interrupted(self) -> None:
        """What was rolled back is looked at again."""

    def stop(self) -> None:
        """Nothing to give back."""


def _look_surely(saga_id: uuid.UUID, now: dt.datetime) -> bool:
    try:
        return look(saga_id, now)
    except DatabaseError:
        raise
    except Exception:  # whatever is wrong with one saga must not keep all that come after it waiting
        logger.exception("Saga %s could not be looked at.", saga_id)
        Saga.objects.filter(id=saga_id, due_at__lte=now).update(due_at=now + CHECK_AFTER)
        return False


def look(saga_id: uuid.UUID, now: dt.datetime) -> bool:
    """Look at one saga; whether anything was to be done. False as well while somebody else moves it."""
    alias = control_alias()
    with transaction.atomic(using=alias):
        free = Saga.objects.select_for_update(skip_locked=True).filter(id=saga_id, due_at__lte=now)
        if not free.exists():
            return False
        row, run = store.read(saga_id)
        events = list(_events(row, run, now))
        if not events:
            Saga.objects.using(alias).filter(id=saga_id).update(due_at=now + CHECK_AFTER)
            return False
        for event in events:
            # One may make the next one no news.
            with contextlib.suppress(Stale, Refused):
                store.tell(saga_id, event, now)
        fault_point("saga.kept")
    return True


def _events(row: Saga, run: Run, now: dt.datetime) -> Iterator[Event]:
    if run.state in AT_REST:
        return
    ends = _ends([run.runner, *(each.job for each in run.steps.values())])
    is_held = run.runner is not None
    if run.runner is not None and (gone := _runner_gone(row, run, ends, now)) is not None:
        is_held = False
        yield gone
        if ends.get(run.runner, ("", None))[0] == State.CANCELLED:
            yield Cancel(ends[run.runner][1])
    for name, step in run.steps.items():
        if step.job is not None and step.state in IN_HAND | IN_LINE and (ended := ends.get(step.job)) is not None:
            state, error = ended
            yield JobGone(name, step.job, error or {"type": "JobLost", "message": f"its job {step.job} is {state}"},
                          is_final=state in (State.FAILED, State.CANCELLED))  # fmt: skip
        yield from _child_events(row, step)
    if not is_held and is_due(store.plan_of(row.plan), run, now):
        yield Looked()


def _ends(job_ids: Sequence[uuid.UUID | None]) -> dict[uuid.UUID, tuple[str, Any]]:
    """Of the jobs that will say nothing any more: their state and their error."""
    asked = {each for each in job_ids if each is not None}
    rows = {job.id: job for job in Job.objects.visible_to(None).filter(id__in=asked).only("id", "state", "error")}
    ended = {job_id: (job.state, job.error) for job_id, job in rows.items() if job.state in JOB_FINAL}
    return ended | dict.fromkeys(asked - rows.keys(), ("gone", None))


def _runner_gone(row: Saga, run: Run, ends: Mapping[uuid.UUID, tuple[str, Any]], now: dt.datetime) -> RunnerGone | None:
    assert run.runner is not None
    if run.is_inline:
        limits = [each.time_limit for each in store.plan_of(row.plan).steps if each.time_limit is not None]
        is_alive = now < row.updated_at + INLINE_LEASE + max(limits, default=dt.timedelta(0))
        return None if is_alive else RunnerGone(run.runner)
    if run.runner not in ends:
        return None
    state, error = ends[run.runner]
    return RunnerGone(run.runner, error if state == State.FAILED else None)


def _child_events(row: Saga, step: StepRun) -> Iterator[Event]:
    """What the saga within a step has said, or was not told, because somebody died in between."""
    is_undoing = step.state is StepState.COMPENSATING
    if step.child is None or not (is_undoing or step.state is StepState.WAITING):
        return
    child = Saga.objects.filter(id=step.child).first()
    if child is None:
        yield SagaEnded(step.name, step.child, SagaState.CANCELLED, error={"type": "SagaGone", "message": "it is gone"})
    elif child.state in FINAL and not (is_undoing and child.state == SagaState.COMPLETED):
        state = SagaState(child.state)
        yield SagaEnded(step.name, step.child, state, result=child.result, error=child.error)
    elif (is_undoing or step.reason) and not (child.is_undoing or child.wish):
        # One that is on its way back, or needs a person for that, has heard it.
        again = functools.partial(store.call_back, row.id, UndoSaga(step.name, step.child))
        transaction.on_commit(again, using=control_alias())
