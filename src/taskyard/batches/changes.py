"""What follows from a job's change of state for its batch and for the row it is tracked by, in the same transaction."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import NamedTuple, Protocol

from taskyard.batches import teller, tracked
from taskyard.jobs.models import Job
from taskyard.jobs.rows import tally
from taskyard.jobs.rows.sql import Sql
from taskyard.jobs.states import FINAL
from taskyard.tasks.doors import door

#: Batches whose turn comes next, while one is being looked at.
_waiting: ContextVar[deque[uuid.UUID] | None] = ContextVar("taskyard_batches_to_look_at", default=None)


class Change(NamedTuple):
    """A job that went from one state to another."""

    job: uuid.UUID
    batch: uuid.UUID | None
    subject_type: str
    before: str
    after: str


class Claimed(Protocol):
    """What is needed of an attempt that begins."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def subject_type(self) -> str: ...


def note(changes: Iterable[Change], alias: str, now: dt.datetime) -> None:
    """Count members that ended or were brought back, and keep tracked rows in step. Final to final moves the count."""
    counts: Counter[tuple[uuid.UUID, str]] = Counter()
    followed = []
    for change in changes:
        if change.batch is not None:
            if change.before in FINAL:
                counts[change.batch, change.before] -= 1
            if change.after in FINAL:
                counts[change.batch, change.after] += 1
        if change.subject_type in tracked.LABELS:
            followed.append(change.job)
    tally.add(Sql(alias), {key: count for key, count in counts.items() if count})
    if followed:
        tracked.follow(followed, alias, now)
    look_if_eager({batch for batch, _ in counts}, now)


def ended(job_ids: Sequence[uuid.UUID], alias: str, now: dt.datetime) -> None:
    """:func:`note` of unfinished jobs that have just been moved to the final state they are in."""
    rows = Job.objects.using(alias).filter(id__in=job_ids, state__in=[state.value for state in FINAL])
    found = rows.values_list("id", "batch", "subject_type", "state")
    note([Change(job, batch, about, "", state) for job, batch, about, state in found], alias, now)


def begun(claims: Sequence[Claimed], alias: str) -> None:
    """Attempts begin: rows that are tracked say so, in a transaction after the claim's own."""
    followed = [owned.id for owned in claims if owned.subject_type in tracked.LABELS]
    if followed:
        tracked.follow(followed, alias, dt.datetime.now(dt.UTC))


def look_if_eager(batch_ids: Iterable[uuid.UUID | None], now: dt.datetime) -> None:
    """In eager mode no teller runs: what it would do is done here, one batch after the other."""
    found = {batch_id for batch_id in batch_ids if batch_id is not None}
    if not found or not door("is_eager")():
        return
    waiting = _waiting.get()
    if waiting is not None:
        # What a look brings about, such as members that it cancels, is looked at after it: within, without an end.
        waiting.extend(found)
        return
    waiting = deque(found)
    token = _waiting.set(waiting)
    try:
        while waiting:
            teller.fold(waiting.popleft(), now, waits=True)
    finally:
        _waiting.reset(token)
