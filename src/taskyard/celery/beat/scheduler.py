"""``celery beat -S taskyard.celery.beat:Scheduler``: our scheduler in a Beat process."""

from __future__ import annotations

import logging
from typing import Any

from celery import beat
from django.utils import timezone

from taskyard.celery.beat.entries import ORIGIN, found_in
from taskyard.runtime.loop import Loop
from taskyard.schedules import scheduler
from taskyard.schedules.sources.imports import Source, take_over

logger = logging.getLogger(__name__)


class Scheduler(beat.Scheduler):
    """Decides about Taskyard's schedules, beside those of workers and of other Beats: none has a role.

    Entries of ``app.conf.beat_schedule`` become rows when it starts, and follow the code: an entry that is gone is
    removed, an edited row put back. They run while such a Beat runs for this app, and what cannot be said of them is
    logged. Nothing is kept in memory or in a file. Its tick never raises an ``Exception``.
    """

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        self.source = Source(f"{ORIGIN}:{app.main}"[:200], keeper=f"beat:{app.main}"[:32], is_truth=True)
        self._loops = [Loop(scheduler.Scheduler()), Loop(scheduler.Scheduler(self.source.keeper))]
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Make rows of the app's entries."""
        for step in take_over(self.source, list(found_in(self.app)), timezone.now()):
            if step.kind in ("refused", "conflict"):
                logger.error("beat_schedule entry %r does not run: %s", step.name, step.reason)
            elif step.kind != "same":
                logger.info("beat_schedule entry %r: %s", step.name, step.kind)

    def tick(self, *_: Any, **__: Any) -> float:
        """Decide about what is due; how many seconds to sleep."""
        now = timezone.now()
        seconds = [loop.turn(now, is_deaf=True) for loop in self._loops]
        return float(min(self.max_interval, *seconds))

    @property
    def info(self) -> str:
        """For Beat's banner."""
        return "    . schedules -> the database"
