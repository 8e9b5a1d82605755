"""Chords counted in rows: each member once, the body once, in the transaction that ends the last member."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import uuid
from functools import partial
from typing import Any, Protocol

from celery import states
from celery.app.task import Context
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, result_from_tuple
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from kombu.utils.json import dumps, loads

from taskyard import enqueue
from taskyard.batches import changes
from taskyard.celery.attempt.attempt import Phase, current_attempt, following, heir
from taskyard.celery.attempt.log import cleaner
from taskyard.celery.attempt.trouble import describe
from taskyard.celery.seam import tenant_of_sender
from taskyard.execution.cleaning import clean_trouble
from taskyard.execution.outcome import Trouble
from taskyard.execution.settle import error_of, fault_of
from taskyard.failures import record
from taskyard.jobs.ids import job_id, original_id
from taskyard.jobs.models import Canvas, CanvasPart, Job
from taskyard.jobs.rows.newjob import NewJob
from taskyard.settings import get_settings


class Step(Protocol):
    """Something that is part of a settle."""

    def __call__(self, alias: str, now: dt.datetime) -> None: ...


def defer_or_do(step: Step) -> None:
    """Make a step part of the running attempt's settle; do it now where there is none."""
    attempt, tenant = current_attempt(), heir()
    if attempt is not None and attempt.phase is not Phase.SETTLING:
        attempt.steps.append(step if tenant is None else partial(_follow, tenant, step))
        return
    alias = get_settings().database
    with transaction.atomic(using=alias):
        step(alias, timezone.now())


def _follow(tenant: str, step: Step, alias: str, now: dt.datetime) -> None:
    # It may be the settle of another tenant's job, whose body cancelled this one.
    with following(tenant):
        step(alias, now)


@dataclasses.dataclass(frozen=True)
class Ended:
    """A task that will never run, because one before it failed, is recorded as failed under its own id."""

    task_id: str
    state: str
    error: Any
    request: Any

    def __call__(self, alias: str, now: dt.datetime) -> None:
        trouble = _trouble(self.error)
        job = self._end(trouble, alias, now)
        if job is not None:
            job_id, task, tenant = job
            record.failed(fault_of(task, trouble), job_id=job_id, tenant=tenant, now=now, alias=alias)

    def _end(self, trouble: Trouble, alias: str, now: dt.datetime) -> tuple[uuid.UUID, str, str] | None:
        """Its id, task and tenant; None for one that had a row that waited for nothing."""
        error = error_of(trouble)
        row = Job.objects.using(alias).filter(id=job_id(self.task_id))
        waiting = row.filter(state="waiting").values_list("id", "task", "tenant").first()
        ended = {"state": "failed", "finished_at": now, "error": json.loads(error), "unique_lock": None}
        if waiting is not None and row.filter(state="waiting").update(**ended):
            changes.ended([waiting[0]], alias, now)
            return waiting
        if row.exists():
            return None
        task = getattr(self.request, "task", None) or "unknown"
        root = getattr(self.request, "root_id", None)
        attempt = current_attempt()
        new = NewJob(
            id=job_id(self.task_id), task_id=original_id(self.task_id), task=task,
            queue=enqueue.resolve_queue(None, task), created_at=now, available_at=now, state="failed",
            finished_at=now, error=error, tenant=tenant_of_sender(),
            parent=attempt.claim.id if attempt else None,
            root=attempt.claim.root if attempt else job_id(root or self.task_id),
        )  # fmt: skip
        enqueue.write([new], alias)
        return new.id, new.task, new.tenant


@dataclasses.dataclass(frozen=True)
class Part:
    """A member of a chord that ended."""

    app: Any
    canvas_id: str
    member: str
    state: str

    def __call__(self, alias: str, now: dt.datetime) -> None:
        if not Canvas.objects.using(alias).filter(id=self.canvas_id).update(done=F("done")):
            return
        # The canvas row is locked from here on: members that end together count one after the other.
        _, is_new = CanvasPart.objects.using(alias).get_or_create(
            canvas_id=self.canvas_id, member=self.member, defaults={"state": self.state}
        )
        if not is_new:
            return
        Canvas.objects.using(alias).filter(id=self.canvas_id).update(done=F("done") + 1)
        canvas = Canvas.objects.using(alias).get(id=self.canvas_id)
        if canvas.closed_at is None and canvas.size is not None and canvas.done >= canvas.size:
            Canvas.objects.using(alias).filter(id=canvas.id).update(closed_at=now)
            _close(self.app, canvas, alias, now)


def open_chord(app: Any, header_result_args: Any, body: Any) -> None:
    """Remember a chord in the caller's transaction, before its members are written."""
    header = header_result_args if isinstance(header_result_args, GroupResult) else app.GroupResult(*header_result_args)
    canvas = Canvas(
        id=header.id, tenant=tenant_of_sender(), size=body.get("chord_size") or len(header.results),
        body=json.loads(dumps(dict(body))), members=json.loads(dumps(header.as_tuple())), created_at=timezone.now(),
    )  # fmt: skip
    # It may exist: a chain step that opens a chord runs again if its worker died before its end was written.
    Canvas.objects.using(get_settings().database).bulk_create([canvas], ignore_conflicts=True)


def grow(canvas_id: str) -> None:
    """One more member for an open chord."""
    Canvas.objects.using(get_settings().database).filter(id=canvas_id, closed_at=None).update(size=F("size") + 1)


def _close(app: Any, canvas: Canvas, alias: str, now: dt.datetime) -> None:
    body = maybe_signature(loads(json.dumps(canvas.body)), app=app)
    failed = CanvasPart.objects.using(alias).filter(canvas=canvas).exclude(state=states.SUCCESS).order_by("id").first()
    if failed is None:
        body.delay(_results(result_from_tuple(canvas.members, app), alias))
        return
    job = Job.objects.using(alias).filter(id=job_id(failed.member)).first()
    error = (job.error or {}) if job else {}
    cause = f"{error.get('type', failed.state)}({error.get('message', '')!r})"
    try:
        raise ChordError(f"Dependency {failed.member} raised {cause}")
    except ChordError as chord_error:  # raised, because Celery reads the traceback of the current error
        if body.options.get("task_id"):
            Ended(body.options["task_id"], states.FAILURE, chord_error, Context({"task": body.task}))(alias, now)
        app.backend.chord_error_from_stack(body, exc=chord_error)


def _results(tree: Any, alias: str) -> list[Any]:
    """The members' return values in the order of the header; a nested group's as a list of its own."""
    return [_result(node, alias) for node in tree.results]


def _result(node: Any, alias: str) -> Any:
    if isinstance(node, GroupResult):
        return _results(node, alias)
    text = Job.objects.using(alias).filter(id=job_id(node.id)).values_list("result", flat=True).first()
    return None if text is None else loads(json.dumps(text))


def _trouble(error: Any) -> Trouble:
    # Where it was raised is another task's code; its secrets are those of the job that ends here.
    found = describe(error) if isinstance(error, BaseException) else Trouble("Error", str(error))
    return clean_trouble(Trouble(found.type, found.message, "upstream"), cleaner())
