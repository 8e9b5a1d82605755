"""Celery's result backend on the job row: the row is the result."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import Ignore, Reject, TaskRevokedError, TimeoutError
from celery.exceptions import Retry as CeleryRetry
from celery.result import GroupResult, result_from_tuple
from django.db import connections, models
from django.utils import timezone
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads

from taskyard.celery.attempt import ending
from taskyard.celery.attempt.attempt import Attempt, Phase, current_attempt
from taskyard.celery.attempt.body import TaskReportedFailure
from taskyard.celery.attempt.trouble import describe
from taskyard.celery.results import chords
from taskyard.celery.results.errbacks import enqueue_errbacks
from taskyard.celery.results.rebuilt import rebuilt
from taskyard.errors import JobNotWaitable
from taskyard.jobs.ids import job_id
from taskyard.jobs.models import Canvas, Job, JobQuerySet
from taskyard.jobs.progress.report import progress_in
from taskyard.settings import get_settings
from taskyard.tenancy.context import current_tenant

#: Our states in Celery's words.
CELERY_STATES: Mapping[str, str] = {
    "pending": states.PENDING,
    "queued": states.PENDING,
    "running": states.STARTED,
    "waiting": states.STARTED,
    "retrying": states.RETRY,
    "succeeded": states.SUCCESS,
    "failed": states.FAILURE,
    "cancelled": states.REVOKED,
}

_FIRST_WAIT, _LONGEST_WAIT = 0.01, 0.5


class JobBackend(BaseBackend):
    """``AsyncResult``, groups and chords on rows.

    Inside a worker nothing is written here: what Celery's tracer stores is collected on the attempt and becomes part
    of its settle. Results expire by clearing the row's result, never by deleting the row. Where a tenant is current,
    the results of others do not exist: their ids are as pending as one that nobody enqueued.
    """

    supports_native_join = True
    supports_autoexpire = True
    persistent = True

    # -- reading ---------------------------------------------------------------------------------------------------

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        job = _visible().filter(id=job_id(task_id)).first()
        if job is None:
            return {"status": states.PENDING, "result": None, "traceback": None, "children": []}
        return self._meta(job)

    def _meta(self, job: Job) -> dict[str, Any]:
        state = CELERY_STATES[job.state]
        result: Any = _stored_error(job) if state in _WITH_ERROR else job.result
        if state == states.SUCCESS and job.result is not None:
            # What kombu's JSON wrote (UUID, datetime, Decimal, bytes) comes back as what it was.
            result = loads(json.dumps(job.result))
        attempt = job.attempts.order_by("-number").first() if state in _WITH_ERROR else None
        return {
            "task_id": job.celery_id,
            "status": job.custom_state if job.custom_state and state == states.STARTED else state,
            "result": result,
            "traceback": attempt.traceback if attempt else None,
            "children": self._children(job),
            "date_done": job.finished_at.isoformat() if job.finished_at else None,
            "name": job.task, "args": job.args, "kwargs": job.kwargs, "queue": job.queue, "retries": job.attempt - 1,
        }  # fmt: skip

    def _children(self, job: Job) -> list[Any]:
        rows = _visible().filter(parent=job.id, root=job.root).order_by("created_at", "id") if job.root else []
        return [self.app.AsyncResult(child.celery_id) for child in rows]

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """The row as Celery's meta dictionary; PENDING for an id nobody enqueued."""
        # What one tenant was shown must not be shown to the next.
        key = (_looking(), task_id)
        if cache and key in self._cache:
            cached: dict[str, Any] = self._cache[key]
            return cached
        meta = self._get_task_meta_for(task_id)
        if cache and meta["status"] == states.SUCCESS:
            self._cache[key] = meta
        return meta

    def get_many(self, task_ids: Sequence[str], **options: Any) -> Any:
        """Wait for many results; yields ``(id, meta)`` in the order they end."""
        waiting = list(dict.fromkeys(str(task_id) for task_id in task_ids))
        _refuse_hopeless_wait(waiting)
        give_up = _deadline(options.get("timeout"))
        wait = _FIRST_WAIT
        while waiting:
            rows = _visible().filter(id__in=[job_id(task_id) for task_id in waiting])
            ended = {job.celery_id: self._meta(job) for job in rows if job.is_final}
            for task_id, meta in ended.items():
                waiting.remove(task_id)
                yield task_id, meta
            if waiting and not ended:
                wait = _pause(wait, give_up, f"{len(waiting)} results are missing")

    def wait_for(
        self, task_id: str, timeout: float | None = None, interval: float = 0.5, no_ack: bool = True,
        on_interval: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Poll the row until it is final, often at first."""
        self._ensure_not_eager()
        _refuse_hopeless_wait([task_id])
        give_up, wait = _deadline(timeout), _FIRST_WAIT
        while True:
            meta = self.get_task_meta(task_id)
            if meta["status"] in states.READY_STATES:
                return meta
            if on_interval:
                on_interval()
            wait = _pause(wait, give_up, f"job {task_id} is {meta['status'].lower()} still")

    # -- what the tracer says --------------------------------------------------------------------------------------

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """Keep the result for the settle; a value that is not JSON fails the task."""
        attempt = _own(task_id)
        if attempt is not None:
            keep = store_result and not (request is not None and request.ignore_result)
            attempt.result = self._encoded(attempt, result) if keep else None
        if request is not None and request.chord:
            self.on_chord_part_return(request, state, result)

    def _encoded(self, attempt: Attempt, result: Any) -> str:
        try:
            text = dumps(result)
        except (TypeError, ValueError, EncodeError, RecursionError) as error:
            raise EncodeError(
                f"Task {attempt.claim.task!r} returned a {type(result).__name__}, which JSON cannot store ({error}). "
                "Return plain values."
            ) from error
        limit = get_settings().max_result_bytes
        if len(text) > limit:
            raise EncodeError(
                f"Task {attempt.claim.task!r} returned {len(text):,} bytes, the limit is {limit:,}. Store the data "
                "and return its key, or raise TASKYARD['MAX_RESULT_BYTES']."
            )
        return text

    def mark_as_failure(
        self, task_id: str, exc: Any, traceback: Any = None, request: Any = None, store_result: bool = True,
        call_errbacks: bool = True, state: str = states.FAILURE,
    ) -> None:  # fmt: skip
        """Celery's propagation of a failure; everything it writes is collected for the settle."""
        attempt = _own(task_id)
        if attempt is not None:
            exc = exc if attempt.raised is None else attempt.raised
            ending.failed(attempt, exc)
            if isinstance(exc, TaskReportedFailure):
                attempt.result = self._encoded(attempt, exc.answer)
        super().mark_as_failure(task_id, exc, traceback, request, True, call_errbacks, state)

    def mark_as_retry(
        self, task_id: str, exc: Any, traceback: Any = None, request: Any = None, store_result: bool = True,
        state: str = states.RETRY,
    ) -> None:  # fmt: skip
        """Remember why; the retry itself is the message ``self.retry()`` sent."""
        attempt = _own(task_id)
        if attempt is not None and isinstance(exc, BaseException):
            attempt.trouble = describe(exc)

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """Celery's one writing primitive: for the running job, part of its settle; for another id, a row of it."""
        attempt = _own(task_id)
        if attempt is not None:
            self._store_own(attempt, result, state)
        elif state in states.EXCEPTION_STATES:
            chords.defer_or_do(chords.Ended(task_id, state, result, request))
        return result

    def _store_own(self, attempt: Attempt, result: Any, state: str) -> None:
        if isinstance(result, (CeleryRetry, Ignore, Reject)) or attempt.phase is not Phase.BODY:
            return
        # update_state() in the body: visible at once, through the same coalesced way as progress.
        attempt.custom_state, attempt.custom_meta = state, result
        if state in states.READY_STATES:
            # Final only once the body raises Ignore; a waiting get() must not end before.
            return
        meta = {"error": str(result)} if isinstance(result, BaseException) else result
        attempt.running.report(custom_state=state[:50], result=dumps(meta))
        progress = progress_in(meta)
        if progress is not None:
            attempt.running.progress(*progress)

    def _call_task_errbacks(self, request: Any, exc: Any, traceback: Any) -> None:
        # Run in place, an errback could be lost or run twice around a crash; as jobs they are part of the settle.
        enqueue_errbacks(self.app, request, exc)

    # -- groups and chords -----------------------------------------------------------------------------------------

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Remember what the chord waits for; no task polls."""
        self.ensure_chords_allowed()
        chords.open_chord(self.app, header_result_args, body)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a member that ended, in the transaction that ends it; the last one brings the body."""
        if request.group and request.id:
            chords.defer_or_do(chords.Part(self.app, request.group, str(request.id), state))

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """One more member."""
        chords.grow(chord_id)

    def save_group(self, group_id: str, result: Any) -> Any:
        """Keep a group's result tree."""
        members = json.loads(dumps(result.as_tuple()))
        canvas = Canvas(id=group_id, tenant=_looking() or "", members=members, created_at=timezone.now())
        Canvas.objects.using(get_settings().database).bulk_create([canvas], ignore_conflicts=True)
        _saved(group_id).update(members=members)
        return result

    def restore_group(self, group_id: str, cache: bool = True) -> GroupResult | None:
        """A saved group, or None."""
        canvas = _saved(group_id).first()
        if canvas is None or not canvas.members:
            return None
        restored: GroupResult = result_from_tuple(canvas.members, self.app)
        return restored

    def delete_group(self, group_id: str) -> None:
        """Forget a saved group."""
        _saved(group_id).filter(size=None).delete()

    def forget(self, task_id: str) -> None:
        """Clear the result; the row stays."""
        for looking in {_looking(), None}:
            self._cache.pop((looking, task_id), None)
        _visible().filter(id=job_id(task_id)).update(result=None)

    def cleanup(self) -> None:
        """The pruner does it."""

    def __reduce__(self, args: Any = (), kwargs: Any = None) -> Any:
        return super().__reduce__(args, kwargs or {})


_WITH_ERROR = frozenset({states.FAILURE, states.RETRY, states.REVOKED})


def _looking() -> str | None:
    # Outside of all tenants, and in projects without, somebody who sees everything.
    return current_tenant() or None


def _visible() -> JobQuerySet:
    return Job.objects.visible_to(_looking())


def _saved(group_id: str) -> models.QuerySet[Canvas]:
    looking = _looking()
    rows = Canvas.objects.using(get_settings().database).filter(id=group_id)
    return rows if looking is None else rows.filter(tenant=looking)


def _own(task_id: str) -> Attempt | None:
    attempt = current_attempt()
    return attempt if attempt is not None and attempt.celery_id == str(task_id) else None


def _stored_error(job: Job) -> Exception:
    error = job.error or {}
    if job.state == "cancelled":
        return TaskRevokedError(error.get("reason"))
    return rebuilt(str(error.get("type") or "Exception"), str(error.get("message", "")))


def _refuse_hopeless_wait(task_ids: Sequence[str]) -> None:
    if not connections[get_settings().database].in_atomic_block:
        return
    # Nothing tells a row of this open transaction from one another transaction committed, except that a worker has
    # touched the other; waiting inside a transaction for one nobody touched ends well only by luck.
    untouched = _visible().filter(id__in=[job_id(one) for one in task_ids], state="pending", attempt=0).first()
    if untouched is not None:
        raise JobNotWaitable(untouched.celery_id)


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _pause(wait: float, give_up: float | None, what: str) -> float:
    if give_up is not None and time.monotonic() >= give_up:
        raise TimeoutError(f"The operation timed out: {what}.")
    threading.Event().wait(wait)
    return min(wait * 1.5, _LONGEST_WAIT)
