"""Verbs about batches: jobs that are followed as one; and items within one job, which are read in the same shape."""

from __future__ import annotations

import dataclasses
import uuid

from django.utils import timezone

from taskyard.batches import cancelling, queries
from taskyard.batches.models import Batch
from taskyard.batches.queries import BatchFilter, Reading
from taskyard.errors import NotFound, WrongState
from taskyard.jobs.pages.keyset import Page
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.blind import blind_reading
from taskyard.operations.acting.entries import Deed, together, write_down
from taskyard.operations.acting.verbs import verb


@verb("batch", "view_batch", reads=True)
def list_(actor: Actor, wanted: BatchFilter | None = None, *, after: str = "", limit: int = 50) -> Page[Reading]:
    """A page of them, the newest first; ``after``: the place of the page before, as text."""
    wanted = wanted or BatchFilter()
    own = dataclasses.replace(wanted, tenant=actor.within(wanted.tenant).tenant)
    return queries.find_page(own, timezone.now(), after=after, limit=limit)


@verb("batch", "view_batch", reads=True)
def show(actor: Actor, batch_id: uuid.UUID) -> Reading:
    """How far one is, and which of its members failed; without payload their errors have no words."""
    found = queries.find_batch(batch_id, timezone.now(), tenant=actor.tenant)
    if found is None:
        raise NotFound("batch", batch_id)
    return found if actor.sees_payload else blind_reading(found)


@verb("job", "view_job", reads=True)
def items(actor: Actor, job_id: uuid.UUID) -> Reading:
    """How far the items of one job are, and which failed; without payload these are counted, not named."""
    found = queries.find_job(job_id, timezone.now(), tenant=actor.tenant)
    if found is None:
        raise NotFound("job", job_id)
    return found if actor.sees_payload else blind_reading(found)


@verb("batch", "cancel_batch")
def cancel(actor: Actor, batch_id: uuid.UUID, *, reason: str = "") -> None:
    """Cancels all members that have not ended, and the next stage. Members that run are asked to stop.

    Of a large one the first 2,000 are cancelled when this returns, and the others by the tellers. Raises
    :class:`~taskyard.errors.WrongState` for one that has ended.
    """
    now = timezone.now()
    with together():
        row = Batch.objects.visible_to(actor.tenant).filter(id=batch_id).first()
        if row is None:
            raise NotFound("batch", batch_id)
        if not cancelling.mark([batch_id], now, tenant=actor.tenant):
            raise WrongState("batch", batch_id, f"it is {row.state}")
        deed = Deed(
            target=str(batch_id), tenant=row.tenant, before={"state": row.state}, after={"cancel_requested": True},
            said={"name": row.name}, reason=reason,
        )  # fmt: skip
        write_down(actor, "batch", "cancel", deed)
    # From here on the tellers would do it.
    cancelling.begin([batch_id], now)
