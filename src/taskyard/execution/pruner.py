"""Deletes final jobs and decisions of schedules whose time is over, and expired results, in small batches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django.db import transaction
from django.db.models import Q

from taskyard.batches.models import Batch
from taskyard.failures import record
from taskyard.jobs.models import Attempt, Canvas, CanvasPart, Job
from taskyard.jobs.rows.sql import Sql
from taskyard.sagas.writing import cleaning
from taskyard.schedules.models import Occurrence
from taskyard.settings import get_settings

BATCH = 500


class Pruner:
    """Keeps the table bounded; several may run, a row is deleted once."""

    name = "pruner"
    channels: Sequence[str] = ()

    def __init__(self, *, result_expires: dt.timedelta | None = None) -> None:
        #: Results are cleared this long after the job ended; the row stays. None: they stay with the row.
        self.result_expires = result_expires
        #: Rows of a state that ended before this are gone already: the next look starts there.
        self._marks: dict[str, dt.datetime] = {}

    def run_once(self, now: dt.datetime) -> int:
        """Delete one batch per state; how many jobs were deleted."""
        deleted = 0
        for state, keep in get_settings().retention.items():
            if keep is not None:
                deleted += self.prune(state, now - keep)
        if self.result_expires is not None:
            self._clear_results(now - self.result_expires)
        longest = max((keep for keep in get_settings().retention.values() if keep is not None), default=None)
        if longest is not None:
            _prune_canvases(now - longest)
            _prune_batches(now - longest)
        deleted = max(deleted, cleaning.prune(now, get_settings().retention, limit=BATCH))
        keep_failed = get_settings().retention["failed"]
        if keep_failed is not None:
            record.forget_groups(now - keep_failed, limit=BATCH)
        return max(deleted, _prune_occurrences(now - get_settings().occurrence_retention))

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """On at once while batches are full, else a minute."""
        return dt.timedelta(milliseconds=100) if done >= BATCH else dt.timedelta(minutes=1)

    def interrupted(self) -> None:
        """Deleting again is harmless."""

    def stop(self) -> None:
        """Nothing to give back."""

    def _clear_results(self, until: dt.datetime) -> None:
        sql = Sql(get_settings().database)
        since = self._marks.setdefault("result", dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
        cleared = sql.take(
            "result = NULL", "finished_at >= %s AND finished_at < %s AND state = 'succeeded' AND result IS NOT NULL",
            [sql.time(since), sql.time(until)], order="finished_at", limit=BATCH, returning="finished_at",
        )  # fmt: skip
        # A full batch: there may be more of the same times; else everything up to then is cleared.
        self._marks["result"] = max(sql.moment(row[0]) for row in cleared) if len(cleared) == BATCH else until

    def prune(self, state: str, until: dt.datetime, *, tenant: str | None = None) -> int:
        """Delete one batch of jobs that ended in this state before a time; how many.

        With ``tenant``, those of that tenant alone; one pruner asks for one of them, or for all.
        """
        alias = get_settings().database
        old = Job.objects.visible_to(tenant).filter(state=state, finished_at__lt=until)
        if state in self._marks:
            old = old.filter(finished_at__gte=self._marks[state])
        batch = list(old.order_by("finished_at").values_list("id", "finished_at")[:BATCH])
        if not batch:
            self._marks[state] = until
            return 0
        ids = [job_id for job_id, _ in batch]
        with transaction.atomic(using=alias):
            # The state is asked again, under a lock: an operator's retry may have brought the job back meanwhile, and
            # then its attempts stay as well. The times are for the planner: no list of ids makes it read the table.
            ended = Job.objects.visible_to(tenant).filter(finished_at__gte=batch[0][1], finished_at__lte=batch[-1][1])
            ids = list(ended.filter(id__in=ids, state=state).select_for_update().values_list("id", flat=True))
            Attempt.objects.using(alias).filter(job_id__in=ids)._raw_delete(alias)
            record.no_longer(ids, alias)
            deleted = ended.filter(id__in=ids)._raw_delete(alias)
        self._marks[state] = batch[-1][1]
        return int(deleted)


def _prune_occurrences(until: dt.datetime) -> int:
    alias = get_settings().database
    # One that still waits for a job to end is no history yet.
    old = Occurrence.objects.filter(decided_at__lt=until, lock=None)
    ids = list(old.order_by("decided_at").values_list("id", flat=True)[:BATCH])
    return int(Occurrence.objects.filter(id__in=ids)._raw_delete(alias)) if ids else 0


def _prune_canvases(until: dt.datetime) -> None:
    alias = get_settings().database
    with transaction.atomic(using=alias):
        # An open chord waits for members however long they take; saved groups have no end of their own.
        done = Canvas.objects.using(alias).filter(Q(size=None) | Q(closed_at__lt=until), created_at__lt=until)
        old = list(done.values_list("id", flat=True)[:BATCH])
        if old:
            CanvasPart.objects.using(alias).filter(canvas_id__in=old)._raw_delete(alias)
            Canvas.objects.using(alias).filter(id__in=old)._raw_delete(alias)


def _prune_batches(until: dt.datetime) -> None:
    old = Batch.objects.filter(finished_at__lt=until)
    ids = list(old.order_by("finished_at").values_list("id", flat=True)[:BATCH])
    if ids:
        # Asked again: an operator's retry may have made it run again meanwhile.
        old.filter(id__in=ids)._raw_delete(get_settings().database)
