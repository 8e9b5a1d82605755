"""What a person may do to jobs from outside: cancel them, or bring ended ones back.

``tenant`` is who asks: to a tenant the jobs of others do not exist, None is an operator who may act on all of them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from taskyard.batches import changes
from taskyard.batches.changes import Change
from taskyard.failures import record
from taskyard.jobs.models import Job
from taskyard.jobs.redaction import redact_text
from taskyard.jobs.states import State
from taskyard.runtime.wakeup import WORK_WRITTEN, wake
from taskyard.settings import get_settings
from taskyard.tasks.doors import door
from taskyard.tasks.unique import unique_lock

_NOT_STARTED = [State.PENDING.value, State.QUEUED.value, State.RETRYING.value, State.WAITING.value]
_ENDED = [State.FAILED.value, State.CANCELLED.value]
#: Of a job that is to be brought back.
_LOOKED_AT = ("task", "tenant", "unique_key", "attempt", "error", "batch", "subject_type", "state")


def cancel(
    job_ids: Iterable[uuid.UUID], now: dt.datetime, *, reason: str = "cancelled", message: str = "",
    tenant: str | None = None,
) -> int:  # fmt: skip
    """Cancel jobs; how many were cancelled or asked to stop.

    One that has not started never will: no message can claim a cancelled row, whatever restarts. A running one is
    asked: it stops at its next check (``track``, ``raise_if_cancelled``), within a second, or runs to its end.
    ``reason`` is a word for programs, ``message`` a sentence of whoever cancels; secrets are taken out of it.
    """
    jobs = Job.objects.visible_to(tenant).filter(id__in=list(job_ids))
    error = {"type": "Cancelled", "message": redact_text(message), "reason": reason}
    alias = get_settings().database
    with transaction.atomic(using=alias):
        # Locked first: a job that is being claimed is either still to be cancelled or already to be asked.
        locked = _lock(jobs)
        # Running ones first: one whose attempt ends meanwhile is found by the second statement, or by its settle.
        asked = jobs.filter(state=State.RUNNING.value).update(cancel_requested_at=now)
        moved = jobs.filter(state__in=_NOT_STARTED).update(
            state=State.CANCELLED.value, finished_at=now, error=error, unique_lock=None, cancel_requested_at=now
        )
        stopped = jobs.filter(state=State.CANCELLED.value, cancel_requested_at=now)
        door("tell_canvases")(list(stopped.values_list("id", flat=True)), reason)
        changes.note(_changes((row for row in locked if row[3] in _NOT_STARTED), State.CANCELLED), alias, now)
        return moved + asked


def retry(job_ids: Iterable[uuid.UUID], now: dt.datetime, *, tenant: str | None = None) -> int:
    """Bring failed or cancelled jobs back, with one more attempt allowed each; how many came back.

    A job whose unique key is held by another unfinished job stays where it is; so does the later step of a chain that
    never ran, because its arguments would come from the step before: retry that one.
    """
    alias = get_settings().database
    rows = Job.objects.visible_to(tenant).filter(id__in=list(job_ids), state__in=_ENDED)
    with transaction.atomic(using=alias):
        # In one order, so that two who retry the same jobs wait for each other instead of locking each other out.
        found = rows.order_by("id").select_for_update().only(*_LOOKED_AT)
        jobs = [job for job in found if job.attempt or (job.error or {}).get("reason") != "upstream"]
        moved = [job for job in jobs if job.unique_key is None]
        _bring_back([job.id for job in moved], None, now)
        for job in jobs:
            if job.unique_key is None:
                continue
            with contextlib.suppress(IntegrityError), transaction.atomic(using=alias):
                _bring_back([job.id], unique_lock(job.task, job.tenant, job.unique_key), now)
                moved.append(job)
        record.no_longer([job.id for job in moved], alias)
        back = [Change(job.id, job.batch, job.subject_type, job.state, State.PENDING) for job in moved]
        changes.note(back, alias, now)
    if moved:
        transaction.on_commit(lambda: wake(WORK_WRITTEN), using=alias)
    return len(moved)


def _bring_back(job_ids: list[uuid.UUID], lock: str | None, now: dt.datetime) -> None:
    Job.objects.visible_to(None).filter(id__in=job_ids, state__in=_ENDED).update(
        state=State.PENDING.value, due=True, available_at=now, finished_at=None, expires_at=None, unique_lock=lock,
        cancel_requested_at=None, crashes=0, publishes=0, max_attempts=F("max_attempts") + 1,
    )  # fmt: skip


def discard(job_ids: Iterable[uuid.UUID], now: dt.datetime, *, message: str = "", tenant: str | None = None) -> int:
    """Set failed jobs aside as cancelled, so that nobody looks at them again; how many were.

    ``message`` says why, in the words of whoever does it; secrets are taken out of it.
    """
    alias = get_settings().database
    error = {"type": "Cancelled", "message": redact_text(message), "reason": "discarded"}
    jobs = Job.objects.visible_to(tenant).filter(id__in=list(job_ids), state=State.FAILED.value)
    with transaction.atomic(using=alias):
        locked = _lock(jobs)
        record.no_longer([row[0] for row in locked], alias)
        moved = jobs.update(state=State.CANCELLED.value, finished_at=now, error=error)
        changes.note(_changes(locked, State.CANCELLED), alias, now)
        return moved


def _lock(jobs: Any) -> list[tuple[Any, ...]]:
    return list(jobs.order_by("id").select_for_update().values_list("id", "batch", "subject_type", "state"))


def _changes(rows: Iterable[tuple[Any, ...]], after: State) -> list[Change]:
    return [Change(job, batch, about, before, after) for job, batch, about, before in rows]
