"""Cancelling a batch: its members in pieces, each of which commits, until none is left."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable

from django.db import transaction

from taskyard.batches.decision import BatchState
from taskyard.batches.models import Batch
from taskyard.jobs.models import Job, JobQuerySet
from taskyard.jobs.rows import tally
from taskyard.jobs.rows.sql import Sql
from taskyard.jobs.states import LANE_OUT, State
from taskyard.settings import get_settings
from taskyard.tasks.doors import door

#: Members cancelled in one transaction, and pieces that the caller waits for.
PIECE = 500
_PIECES = 4


def cancel(batch_ids: Iterable[uuid.UUID], now: dt.datetime, *, tenant: str | None = None) -> int:
    """Cancel batches and all their members that have not ended; how many batches that are running.

    ``tenant`` is who asks, as in :func:`taskyard.execution.steering.cancel`. What this does not get to, a teller does;
    members that are added meanwhile are cancelled as well.
    """
    marked = mark(batch_ids, now, tenant=tenant)
    begin(marked, now)
    return len(marked)


def mark(batch_ids: Iterable[uuid.UUID], now: dt.datetime, *, tenant: str | None = None) -> list[uuid.UUID]:
    """Say that batches are to be cancelled; those of them that are running. Once that is committed tellers do it."""
    alias = get_settings().database
    with transaction.atomic(using=alias):
        rows = Batch.objects.visible_to(tenant).select_for_update().order_by("id")
        found = rows.filter(id__in=list(batch_ids), state=BatchState.RUNNING.value)
        marked = list(found.values_list("id", flat=True))
        Batch.objects.filter(id__in=marked, cancel_requested_at=None).update(cancel_requested_at=now)
        _nudge(marked, alias)
    return marked


def begin(batch_ids: Iterable[uuid.UUID], now: dt.datetime) -> None:
    """Cancel the first members of batches that were marked, at once.

    None that were handed over: whoever waits for this is not to wait until all members that ended were looked at.
    """
    for batch_id in batch_ids:
        for _ in range(_PIECES):
            if _cancel(_to_cancel(batch_id), now) < PIECE:
                break


def cancel_members(batch_id: uuid.UUID, now: dt.datetime) -> int:
    """Cancel one piece of the members; how many were, or were asked to stop."""
    return _cancel(_to_cancel(batch_id), now) or _cancel(_handed_over(batch_id), now)


def _cancel(members: JobQuerySet, now: dt.datetime) -> int:
    ids = list(members.values_list("id", flat=True)[:PIECE])
    return int(door("cancel")(ids, now, reason="batch-cancelled")) if ids else 0


def is_unfinished(batch: Batch) -> bool:
    """Whether members are left to be cancelled; then a tally makes sure that a teller comes back, in any case."""
    if batch.cancel_requested_at is None or batch.state != BatchState.RUNNING:
        return False
    is_left = _to_cancel(batch.id).exists()
    if not is_left:
        # To look for those that stand in no lane is to look at all that have ended.
        asked = Job.objects.visible_to(None).filter(batch=batch.id, lane__lte=LANE_OUT).count()
        is_left = batch.total - batch.done > asked and _handed_over(batch.id).exists()
    if is_left:
        _nudge([batch.id], get_settings().database)
    return is_left


def _to_cancel(batch_id: uuid.UUID) -> JobQuerySet:
    # Those that have not started first: the others are only asked. A list of lanes would do without the index in that
    # order, and read all members that ended.
    rows = Job.objects.visible_to(None).filter(batch=batch_id, lane__lte=LANE_OUT, cancel_requested_at=None)
    return rows.order_by("lane")


def _handed_over(batch_id: uuid.UUID) -> JobQuerySet:
    # Their bodies were replaced by other jobs; such rows stand in no lane.
    return Job.objects.visible_to(None).filter(batch=batch_id, lane=None, state=State.WAITING.value)


def _nudge(batch_ids: Iterable[uuid.UUID], alias: str) -> None:
    tally.add(Sql(alias), {(batch_id, tally.ADDED): 0 for batch_id in batch_ids})
