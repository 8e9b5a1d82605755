"""Looks at all jobs that somebody watches, twice a second, for all streams of a process together.

One thread with one connection, however many streams there are; it ends with the last of them. A stream of its own for
each look would hold a connection for each viewer.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping

from django.db import DatabaseError, InterfaceError, connections

from taskyard.batches.queries import read_batches
from taskyard.integrations.progress.access import Subject
from taskyard.jobs.progress.pace import Speed
from taskyard.jobs.progress.reading import JobProgress, of_batch, progress_of, with_family

logger = logging.getLogger(__name__)

#: Progress is written about this often.
EVERY_SECONDS = 0.5
#: Where a look takes long, so that looking takes a tenth of the time at most.
_REST_PER_LOOK = 9
#: Streams of one viewer: as many as a browser opens to one host.
MOST_PER_VIEWER = 6


class TooManyStreams(Exception):
    """No room for another one; says why."""


@dataclasses.dataclass(eq=False, slots=True)
class Subscription:
    """What one stream waits for; ``wake`` is called from another thread, and must not wait."""

    subjects: frozenset[Subject]
    viewer: str
    #: Monotonic; nobody waits for it any more after that, whatever became of its stream.
    until: float
    wake: Callable[[], None]
    #: What its stream has told, by stamp.
    told: dict[Subject, str]


def look(subjects: Collection[Subject]) -> dict[Subject, JobProgress]:
    """How far they are; those that do not exist are left out."""
    jobs = progress_of({subject.id for subject in subjects if not subject.batch})
    batches = read_batches({subject.id for subject in subjects if subject.batch})
    found: dict[Subject, JobProgress] = {}
    for subject in subjects:
        progress = jobs.get(subject.id)
        if subject.batch and subject.id in batches:
            progress = of_batch(batches[subject.id])
        if subject.family:
            progress = with_family(subject.id, progress)
        if progress is not None:
            found[subject] = progress
    return found


class Watcher:
    """One per process that serves streams."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None
        #: The last look.
        self._seen: Mapping[Subject, JobProgress] = {}
        self._speeds: dict[Subject, Speed] = {}

    def subscribe(self, subscription: Subscription, *, most: int) -> None:
        """Wake it whenever one of its subjects is not as it told last; raises :class:`TooManyStreams`."""
        with self._lock:
            self._forget_expired()
            if len(self._subscriptions) >= most:
                raise TooManyStreams("This process serves as many event streams as it may.")
            if sum(one.viewer == subscription.viewer for one in self._subscriptions) >= MOST_PER_VIEWER:
                raise TooManyStreams("You have too many event streams open.")
            self._subscriptions.add(subscription)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="taskyard-watcher", daemon=True)
                self._thread.start()

    def unsubscribe(self, subscription: Subscription) -> None:
        """It is over; may be said twice."""
        with self._lock:
            self._subscriptions.discard(subscription)
            if not self._subscriptions:
                self._bell.set()

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._subscriptions)

    def news(self, subscription: Subscription) -> dict[Subject, JobProgress]:
        """What its stream has not told yet; it counts as told from now on."""
        seen = self._seen
        fresh = {
            one: seen[one] for one in subscription.subjects
            if one in seen and seen[one].stamp != subscription.told.get(one)
        }  # fmt: skip
        subscription.told.update({subject: progress.stamp for subject, progress in fresh.items()})
        return fresh

    def _forget_expired(self) -> None:
        now = time.monotonic()
        self._subscriptions = {one for one in self._subscriptions if one.until > now}

    def _run(self) -> None:
        while True:
            with self._lock:
                self._forget_expired()
                current = list(self._subscriptions)
                self._bell.clear()
                if not current:
                    self._thread, self._seen = None, {}
                    self._speeds.clear()
                    break
            began = time.monotonic()
            self._look(current)
            self._bell.wait(max(EVERY_SECONDS, (time.monotonic() - began) * _REST_PER_LOOK))
        connections.close_all()

    def _look(self, current: list[Subscription]) -> None:
        subjects = frozenset[Subject]().union(*(one.subjects for one in current))
        try:
            self._seen = {subject: self._measured(subject, found) for subject, found in look(subjects).items()}
        except (DatabaseError, InterfaceError) as error:
            # Streams live on with heartbeats, and say more when the database is back.
            logger.warning("Progress cannot be looked at: %s", error)
            connections.close_all()
            return
        for one in current:
            if any(one.told.get(each) != self._seen[each].stamp for each in one.subjects if each in self._seen):
                one.wake()

    def _measured(self, subject: Subject, progress: JobProgress) -> JobProgress:
        if progress.current is None or progress.updated_at is None:
            return progress
        speed = self._speeds.setdefault(subject, Speed())
        of = (progress.attempt, progress.total if progress.family is None else None)
        return dataclasses.replace(progress, speed=speed.look(progress.updated_at, progress.current, of=of))


_watcher = Watcher()


def watcher() -> Watcher:
    """This process's; a fork gets a new one."""
    return _watcher


def _begin_anew() -> None:
    global _watcher
    _watcher = Watcher()


os.register_at_fork(after_in_child=_begin_anew)
