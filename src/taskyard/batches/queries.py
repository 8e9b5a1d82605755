"""The read side of batches, and of items within one job, in one shape. ``tenant`` is who is looking, as for jobs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from django.db.models import Max, Q
from django.utils import timezone

from taskyard.batches.decision import BatchState
from taskyard.batches.models import Batch
from taskyard.jobs.models import Job
from taskyard.jobs.pages.keyset import Page, page_of, place_from
from taskyard.jobs.progress import rate, remaining_seconds
from taskyard.jobs.queries import reason_of
from taskyard.jobs.states import LANE_LATER, LANE_OUT, State
from taskyard.settings import get_settings

#: Failed members or items of one reading.
MOST_ERRORS = 100
_MOST_COUNTED = 10_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BatchFilter:
    """Which batches are meant; what is not given matches everything."""

    states: tuple[str, ...] = ()
    name: str = ""
    tenant: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ItemError:
    """One item, or one member, that failed."""

    #: What the task called it; of a member, its task.
    item: str
    error: str
    #: The member.
    job: uuid.UUID | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """How far a batch is, or a job that counts its items."""

    id: uuid.UUID
    #: ``batch`` or ``job``.
    kind: str
    name: str
    #: Of a batch ``running``, ``completed`` or ``cancelled``; of a job its own.
    state: str
    tenant: str
    #: Members, or items; None where a job has not said how many.
    total: float | None
    succeeded: int
    failed: int
    cancelled: int
    #: Those that are done with, well or not.
    current: float
    started_at: dt.datetime | None
    #: When something of this was last heard.
    updated_at: dt.datetime | None
    finished_at: dt.datetime | None
    cancel_requested_at: dt.datetime | None
    #: It should have news and has had none for so long as it says.
    is_stale: bool
    #: The first that failed, at most :data:`MOST_ERRORS`; in a list of readings none.
    errors: tuple[ItemError, ...] = ()
    #: Members that have not ended, by state; of very many, among 10,000, those that run among them. In a list none.
    unfinished: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def percent(self) -> float | None:
        """From 0 to 100; None while nobody has said how many there are."""
        if self.total is None:
            return None
        return min(100.0, 100.0 * self.current / self.total) if self.total else 100.0

    @property
    def rate(self) -> float | None:
        """How many a second, from the start to the last news; None before there are any."""
        if self.started_at is None or self.updated_at is None:
            return None
        return rate(self.current, (self.finished_at or self.updated_at) - self.started_at)

    @property
    def remaining_seconds(self) -> float | None:
        """How much longer it takes at that rate; None where that cannot be told."""
        if self.finished_at is not None:
            return None
        return remaining_seconds(self.current, self.total, per_second=self.rate)


def find_batch(batch_id: uuid.UUID, now: dt.datetime, *, tenant: str | None = None) -> Reading | None:
    """One batch, its first failed members and its unfinished ones by state; None if there is none."""
    batch = Batch.objects.visible_to(tenant).filter(id=batch_id).first()
    if batch is None:
        return None
    return dataclasses.replace(
        _reading(batch, now), is_stale=_is_stale(batch, now), errors=_failed_members(batch), unfinished=_by_state(batch)
    )


def read_batches(batch_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Reading]:
    """Those of the batches that exist, without their errors; one statement."""
    if not batch_ids:
        return {}
    now = timezone.now()
    return {batch.id: _reading(batch, now) for batch in Batch.objects.visible_to(None).filter(id__in=batch_ids)}


def find_page(wanted: BatchFilter, now: dt.datetime, *, after: str = "", limit: int) -> Page[Reading]:
    """The next batches that a filter means, newest first; see :func:`taskyard.jobs.pages.keyset.page_of`."""
    rest = Q() if wanted.tenant is None else Q(tenant=wanted.tenant)
    if wanted.states:
        rest &= Q(state__in=wanted.states)
    if wanted.name:
        rest &= Q(name=wanted.name)
    order = ("created_at", "id")
    place = place_from(after, Batch, order=order) if after else None
    found = page_of(Batch.objects.visible_to(None), order, wanted=rest, after=place, limit=limit)
    return dataclasses.replace(found, rows=tuple(_reading(batch, now) for batch in found.rows))


def find_job(job_id: uuid.UUID, now: dt.datetime, *, tenant: str | None = None) -> Reading | None:
    """The items of one job (``track``, ``item_failed``), or its progress; None if there is no such job."""
    job = Job.objects.visible_to(tenant).filter(id=job_id).first()
    if job is None:
        return None
    counts = job.counts or {}
    succeeded, failed = int(counts.get("succeeded", 0)), int(counts.get("failed", 0))
    heard_at = job.finished_at or job.progress_at or job.started_at
    is_late = heard_at is not None and now - heard_at > get_settings().batch_stale_after
    return Reading(
        id=job.id, kind="job", name=job.task, state=job.state, tenant=job.tenant, total=job.progress_total,
        succeeded=succeeded, failed=failed, cancelled=0,
        current=max(float(succeeded + failed), job.progress_current or 0.0),
        started_at=job.started_at, updated_at=heard_at, finished_at=job.finished_at,
        cancel_requested_at=job.cancel_requested_at, is_stale=job.state == State.RUNNING and is_late,
        errors=tuple(ItemError(one["item"], one["error"]) for one in counts.get("errors", ())),
    )  # fmt: skip


def _reading(batch: Batch, now: dt.datetime) -> Reading:
    return Reading(
        id=batch.id, kind="batch", name=batch.name, state=batch.state, tenant=batch.tenant, total=batch.total,
        succeeded=batch.succeeded, failed=batch.failed, cancelled=batch.cancelled, current=batch.done,
        started_at=batch.created_at, updated_at=batch.updated_at, finished_at=batch.finished_at,
        cancel_requested_at=batch.cancel_requested_at,
        is_stale=batch.state == BatchState.RUNNING and batch.stale_at < now,
    )  # fmt: skip


def _members(batch: Batch) -> Any:
    return Job.objects.visible_to(None).filter(batch=batch.id)


def _is_stale(batch: Batch, now: dt.datetime) -> bool:
    if batch.state != BatchState.RUNNING or batch.stale_at >= now:
        return False
    # None has ended; one may have begun or said how far it is.
    out = _members(batch).filter(lane=LANE_OUT, state=State.RUNNING.value)
    heard = out.aggregate(said=Max("progress_at"), began=Max("started_at")).values()
    return not any(moment and moment > now - dt.timedelta(seconds=batch.stale_after) for moment in heard)


def _failed_members(batch: Batch) -> tuple[ItemError, ...]:
    if not batch.failed:
        return ()
    # Through the index of what did not end well: a million members that did are not looked at.
    bad = _members(batch).filter(error__isnull=False, finished_at__isnull=False, state=State.FAILED.value)
    rows = bad.order_by("finished_at").values_list("task", "error", "id")[:MOST_ERRORS]
    return tuple(ItemError(task, reason_of(error), job) for task, error, job in rows)


def _by_state(batch: Batch) -> dict[str, int]:
    if batch.state != BatchState.RUNNING:
        return {}
    # In the order of the index: without one, what most of the table matches is looked for in all of it. Those that run
    # come first.
    rows = _members(batch).filter(lane__gte=LANE_LATER).order_by("-lane")
    return dict(Counter(rows.values_list("state", flat=True)[:_MOST_COUNTED]))
