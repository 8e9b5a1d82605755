"""The scheduler that Beat is told to use."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from django.core.exceptions import ValidationError
from django.db import DatabaseError
from django.utils import timezone
from django_celery_beat import schedulers

from taskyard.compat.django_celery_beat.mirror import Mirror, fired_at, write_back
from taskyard.runtime.loop import Loop
from taskyard.schedules import scheduler

logger = logging.getLogger(__name__)

#: Who decides about the rows: Beats of this class alone. With them stopped, nothing of it runs, as before.
KEEPER = "django-celery-beat"


class Tables(Protocol):
    """Where their rows are: one table, or one for each tenant."""

    keeper: str
    Model: Any

    def stale(self, now: dt.datetime) -> Iterator[tuple[Mirror, Any]]:
        """The mirrors that have something to look at, with their stamps; each of them until the next is asked for."""
        ...

    def entered(self, tenant: str) -> AbstractContextManager[object]:
        """Where the rows of a tenant are."""
        ...


class Turns:
    """One turn: keep our rows in step with theirs, decide about what is due, tell theirs what ran."""

    name = KEEPER
    channels: Sequence[str] = ()

    def __init__(self, tables: Tables) -> None:
        self._tables, self._engine = tables, scheduler.Scheduler(tables.keeper)
        self._has_more = False

    def run_once(self, now: dt.datetime) -> int:
        """See the class; how many due times were decided."""
        self._has_more = False
        for mirror, stamp in self._tables.stale(now):
            self._has_more |= mirror.keep(stamp, now)
        done = self._engine.run_once(now)
        for row in fired_at(self._tables.keeper, now) if done else ():
            with self._tables.entered(row.tenant):
                write_back(self._tables.Model, row)
        return done

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """None while there is more."""
        return dt.timedelta(0) if self._has_more else self._engine.pause(done, is_deaf=is_deaf)

    def interrupted(self) -> None:
        """What was rolled back is done again."""
        self._engine.interrupted()

    def stop(self) -> None:
        """Nothing to give back."""


class DatabaseScheduler(schedulers.DatabaseScheduler):
    """Runs ``PeriodicTask`` rows by Taskyard's engine: each due time once, with any number of Beats.

    What they look like in memory (``schedule`` and its entries) is read when somebody asks for it, and is not what it
    goes by: there is no heap. Its tick never raises an ``Exception``.
    """

    keeper = KEEPER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = Loop(Turns(self))
        self._mirror = Mirror(self.Model, keeper=self.keeper)
        super().__init__(*args, **kwargs)

    def stale(self, now: dt.datetime) -> Iterator[tuple[Mirror, Any]]:
        """See :class:`Tables`."""
        stamp = self.Changes.last_change()
        if self._mirror.wants(stamp, now):
            yield self._mirror, stamp

    def entered(self, tenant: str) -> AbstractContextManager[object]:
        """See :class:`Tables`."""
        return nullcontext()

    def tick(self, *_: Any, **__: Any) -> float:
        """Decide about what is due; how many seconds to sleep."""
        return float(min(self._loop.turn(timezone.now(), is_deaf=True), self.max_interval))

    def setup_schedule(self) -> None:
        """Make rows of the app's entries, and read nothing."""
        self.install_default_entries({})
        self.update_from_dict(self.app.conf.beat_schedule)

    def update_from_dict(self, mapping: Mapping[str, Any]) -> None:
        """Make a row of each entry, or change the one of its name."""
        for name, fields in mapping.items():
            try:
                entry = self.Entry.from_entry(name, app=self.app, **fields)
            except (DatabaseError, LookupError, TypeError, ValidationError, ValueError):
                logger.exception("Entry %r cannot be kept as a row. It says: %r", name, fields)
            else:
                if not self._initial_read and entry.model.enabled:
                    self.schedule[name] = entry

    @property
    def schedule(self) -> Any:
        """Their rows as Beat's entries, all of them: for those that look; see the class."""
        if self._initial_read:
            # Before reading: an edit that comes meanwhile is seen by the next look.
            self._last_timestamp = self.Changes.last_change()
        return super().schedule

    def enabled_models_qs(self) -> Any:
        """Every enabled row, whatever the hour."""
        return self.Model.objects.enabled()
