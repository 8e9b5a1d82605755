"""Chords counted in rows: each member once, the body once, in the transaction that ends the last member."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
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
from taskyard.celery.attempt.attempt import Phase, current_attempt, following, heir
from taskyard.celery.attempt.trouble import describe
from taskyard.celery.seam import tenant_of_sender
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
        error = _trouble(self.error, "upstream")
        ended = {"state": "failed", "finished_at": now, "error": json.loads(error)}
        row = Job.objects.using(alias).filter(id=job_id(self.task_id))
        if row.filter(state="waiting").update(unique_lock=None, **ended) or row.exists():
            return
        request = self.request
        task = getattr(request, "task", None) or "unknown"
        root = getattr(request, "root_id", None)
        attempt = current_attempt()
        enqueue.write(
            [
                NewJob(
                    id=job_id(self.task_id), task_id=original_id(self.task_id), task=task,
                    queue=enqueue.resolve_queue(None, task), created_at=now, available_at=now, state="failed",
                    finished_at=now, error=error, tenant=tenant_of_sender(),
                    parent=attempt.claim.id if attempt else None,
                    root=attempt.claim.root if attempt else job_id(root or self.task_id),
                )
            ],
            alias,
        )  # fmt: skip


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


def _trouble(error: Any, reason: str) -> str:
    if isinstance(error, BaseException):
        found = describe(error)
        return json.dumps({"type": found.type, "message": found.message, "reason": reason})
    return json.dumps({"type": "Error", "message": str(error), "reason": reason})
