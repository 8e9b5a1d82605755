"""Deletes final jobs whose time is over, and results past their expiry, in small batches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django.db import transaction

from taskyard.jobs.models import Attempt, Canvas, CanvasPart, Job
from taskyard.settings import get_settings

BATCH = 500


class Pruner:
    """Keeps the table bounded; several may run, a row is deleted once."""

    name = "pruner"
    channels: Sequence[str] = ()

    def __init__(self) -> None:
        #: Rows of a state that ended before this are gone already: the next look starts there.
        self._marks: dict[str, dt.datetime] = {}

    def run_once(self, now: dt.datetime) -> int:
        """Delete one batch per state; how many jobs were deleted."""
        deleted = 0
        for state, keep in get_settings().retention.items():
            if keep is not None:
                deleted += self._prune(state, now - keep)
        return deleted

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """On at once while batches are full, else a minute."""
        return dt.timedelta(milliseconds=100) if done >= BATCH else dt.timedelta(minutes=1)

    def interrupted(self) -> None:
        """Deleting again is harmless."""

    def stop(self) -> None:
        """Nothing to give back."""

    def _prune(self, state: str, until: dt.datetime) -> int:
        alias = get_settings().database
        old = Job.objects.using(alias).filter(state=state, finished_at__lt=until)
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
            ended = Job.objects.using(alias).filter(finished_at__gte=batch[0][1], finished_at__lte=batch[-1][1])
            ids = list(ended.filter(id__in=ids, state=state).select_for_update().values_list("id", flat=True))
            Attempt.objects.using(alias).filter(job_id__in=ids)._raw_delete(alias)
            deleted = ended.filter(id__in=ids)._raw_delete(alias)
        self._marks[state] = batch[-1][1]
        return int(deleted)


def prune_canvases(now: dt.datetime, keep: dt.timedelta) -> int:
    """Delete chords and groups closed long ago; how many."""
    alias = get_settings().database
    with transaction.atomic(using=alias):
        old = list(Canvas.objects.using(alias).filter(created_at__lt=now - keep).values_list("id", flat=True)[:BATCH])
        CanvasPart.objects.using(alias).filter(canvas_id__in=old)._raw_delete(alias)
        return int(Canvas.objects.using(alias).filter(id__in=old)._raw_delete(alias))
