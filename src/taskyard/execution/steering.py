"""What a person may do to jobs from outside: cancel them, or bring ended ones back.

``tenant`` is who asks: to a tenant the jobs of others do not exist, None is an operator who may act on all of them.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable

from django.db import IntegrityError, transaction
from django.db.models import F

from taskyard.jobs.models import Job
from taskyard.jobs.states import State
from taskyard.runtime.wakeup import WORK_WRITTEN, wake
from taskyard.settings import get_settings
from taskyard.tasks.doors import door
from taskyard.tasks.unique import unique_lock

_NOT_STARTED = [State.PENDING.value, State.QUEUED.value, State.RETRYING.value, State.WAITING.value]
_ENDED = [State.FAILED.value, State.CANCELLED.value]


def cancel(
    job_ids: Iterable[uuid.UUID], now: dt.datetime, *, reason: str = "cancelled", tenant: str | None = None
) -> int:
    """Cancel jobs; how many were cancelled or asked to stop.

    One that has not started never will: no message can claim a cancelled row, whatever restarts. A running one is
    asked: it stops at its next check (``track``, ``raise_if_cancelled``), within a second, or runs to its end.
    """
    jobs = Job.objects.visible_to(tenant).filter(id__in=list(job_ids))
    error = {"type": "Cancelled", "message": "", "reason": reason}
    with transaction.atomic(using=get_settings().database):
        # Locked first: a job that is being claimed is either still to be cancelled or already to be asked.
        list(jobs.order_by("id").select_for_update().values_list("id", flat=True))
        # Running ones first: one whose attempt ends meanwhile is found by the second statement, or by its settle.
        asked = jobs.filter(state=State.RUNNING.value).update(cancel_requested_at=now)
        moved = jobs.filter(state__in=_NOT_STARTED).update(
            state=State.CANCELLED.value, finished_at=now, error=error, unique_lock=None, cancel_requested_at=now
        )
        stopped = jobs.filter(state=State.CANCELLED.value, cancel_requested_at=now)
        door("tell_canvases")(list(stopped.values_list("id", flat=True)), reason)
        return moved + asked


def retry(job_ids: Iterable[uuid.UUID], now: dt.datetime, *, tenant: str | None = None) -> int:
    """Bring failed or cancelled jobs back, with one more attempt allowed each; how many came back.

    A job whose unique key is held by another unfinished job stays where it is; so does the later step of a chain that
    never ran, because its arguments would come from the step before: retry that one.
    """
    alias = get_settings().database
    moved = 0
    for job in Job.objects.visible_to(tenant).filter(id__in=list(job_ids), state__in=_ENDED):
        if job.attempt == 0 and (job.error or {}).get("reason") == "upstream":
            continue
        lock = unique_lock(job.task, job.tenant, job.unique_key) if job.unique_key is not None else None
        try:
            with transaction.atomic(using=alias):
                moved += Job.objects.visible_to(tenant).filter(id=job.id, state__in=_ENDED).update(
                    state=State.PENDING.value, due=True, available_at=now, finished_at=None, expires_at=None,
                    unique_lock=lock, cancel_requested_at=None, crashes=0, publishes=0,
                    max_attempts=F("max_attempts") + 1,
                )  # fmt: skip
        except IntegrityError:
            continue
    if moved:
        transaction.on_commit(lambda: wake(WORK_WRITTEN), using=alias)
    return moved


def discard(job_ids: Iterable[uuid.UUID], now: dt.datetime, *, tenant: str | None = None) -> int:
    """Set failed jobs aside as cancelled, so that nobody looks at them again; how many were."""
    error = {"type": "Cancelled", "message": "", "reason": "discarded"}
    return (
        Job.objects.visible_to(tenant)
        .filter(id__in=list(job_ids), state=State.FAILED.value)
        .update(state=State.CANCELLED.value, finished_at=now, error=error)
    )
