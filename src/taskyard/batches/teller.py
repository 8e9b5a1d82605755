"""Adds up what happened to members, and decides what follows: the only one who writes counts into a batch's row."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Sequence

from django.db import transaction

from taskyard import enqueue
from taskyard.batches import callbacks, cancelling, tracked
from taskyard.batches.decision import Moment, Standing, due, state_of
from taskyard.batches.models import Batch, BatchTally
from taskyard.jobs.rows import tally
from taskyard.jobs.rows.sql import TALLY, Sql
from taskyard.jobs.states import State
from taskyard.runtime.faults import fault_point
from taskyard.settings import get_settings

#: Tallies of one statement, and statements of one look at a batch.
PIECE = 1_000
_PIECES = 20
#: Batches of one turn.
_MOST_BATCHES = 100

_NEXT_BATCH = f"SELECT batch FROM {TALLY}%s ORDER BY batch LIMIT 1"


class Teller:
    """Any number of them may run: one at a time looks at a batch, and what it does commits or was never done."""

    name = "teller"
    channels: Sequence[str] = ()

    def __init__(self) -> None:
        #: The last batch of the turn before: each gets its turn, however many there are.
        self._last: uuid.UUID | None = None

    def run_once(self, now: dt.datetime) -> int:
        """Look at batches with news; how many tallies were added up."""
        sql, counted = Sql(get_settings().database), 0
        for _ in range(_MOST_BATCHES):
            batch_id = self._next(sql)
            if batch_id is None:
                break
            counted += fold(batch_id, now)
        return counted

    def _next(self, sql: Sql) -> uuid.UUID | None:
        where, params = (" WHERE batch > %s", [sql.uuid(self._last)]) if self._last else ("", [])
        rows = sql.all(_NEXT_BATCH % where, params)
        self._last = sql.read_uuid(rows[0][0]) if rows else None
        return self._last

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """A tenth of a second while there are news, else a second: so late are counts, callbacks and next stages."""
        return dt.timedelta(milliseconds=100) if done else dt.timedelta(seconds=1)

    def interrupted(self) -> None:
        """What was added up is committed, or was never done."""

    def stop(self) -> None:
        """Nothing to give back."""


def fold(batch_id: uuid.UUID, now: dt.datetime, *, seals: bool = False, waits: bool = False) -> int:
    """Add a batch's tallies up and do what follows, in one transaction; how many there were.

    0 as well while somebody else looks at that batch or adds to it, unless it ``waits`` for them: whoever looks just
    once must. ``seals``: the block that opens it has ended.
    """
    alias = get_settings().database
    with transaction.atomic(using=alias):
        batch = Batch.objects.select_for_update(skip_locked=not waits).filter(id=batch_id).first()
        if batch is None:
            return _drop_orphans(batch_id, alias)
        batch.is_sealed = batch.is_sealed or seals
        news = _News(batch_id, alias, pieces=None if seals else _PIECES)
        if not news.count and not seals:
            return 0
        fault_point("tally.taken")
        _apply(batch, news, now)
        is_cancelling = cancelling.is_unfinished(batch)
        batch.save(using=alias)
        tracked.follow_batch(batch, alias, now)
        fault_point("tally.written")
    fault_point("tally.done")
    if is_cancelling:
        cancelling.cancel_members(batch_id, now)
    return news.count


class _News:
    """Tallies taken out of the table, in the caller's transaction, which holds the batch's row."""

    def __init__(self, batch_id: uuid.UUID, alias: str, *, pieces: int | None) -> None:
        self.changes: Counter[str] = Counter()
        self.count, self.saw_failure = 0, False
        #: Nothing that was committed before is left: only then may it be decided that the batch has ended. A tally of
        #: a member that was added may come in the same look as the end of the one that added it, never later.
        self.is_all = False
        rows = BatchTally.objects.using(alias)
        while not self.is_all and (pieces is None or self.count < pieces * PIECE):
            piece = list(rows.filter(batch=batch_id).order_by("id").values_list("id", "what", "delta")[:PIECE])
            rows.filter(id__in=[key for key, _, _ in piece])._raw_delete(alias)
            for _, what, delta in piece:
                self.changes[what] += delta
                self.saw_failure = self.saw_failure or (what == State.FAILED and delta > 0)
            self.count += len(piece)
            self.is_all = len(piece) < PIECE


def _apply(batch: Batch, news: _News, now: dt.datetime) -> None:
    batch.total += news.changes[tally.ADDED]
    batch.succeeded += news.changes[State.SUCCEEDED]
    batch.failed += news.changes[State.FAILED]
    batch.cancelled += news.changes[State.CANCELLED]
    batch.updated_at = now
    batch.stale_at = now + dt.timedelta(seconds=batch.stale_after)
    standing = Standing(
        batch.total, batch.succeeded, batch.failed, batch.cancelled, is_sealed=batch.is_sealed and news.is_all,
        is_cancelled=batch.cancel_requested_at is not None, saw_failure=news.saw_failure,
    )  # fmt: skip
    batch.state = state_of(standing).value
    if standing.is_over:
        batch.finished_at, batch.lock = batch.finished_at or now, None
    else:
        batch.finished_at = None
    moments = due(standing, [Moment(name) for name in batch.told])
    batch.told = {**batch.told, **{moment.value: now.isoformat() for moment in moments}}
    jobs = [job for moment in moments for job in callbacks.jobs_of(batch, moment, now)]
    if jobs:
        enqueue.write(jobs, get_settings().database)


def _drop_orphans(batch_id: uuid.UUID, alias: str) -> int:
    # Of a batch that was deleted while members lived on; not of one that is merely locked.
    if not Batch.objects.using(alias).filter(id=batch_id).exists():
        BatchTally.objects.using(alias).filter(batch=batch_id)._raw_delete(alias)
    return 0
