"""Gives back the jobs of workers that are surely gone."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import time
import uuid
from collections.abc import Callable, Sequence

from taskyard import events
from taskyard.execution.claim import find_claim
from taskyard.execution.outcome import Trouble, lost
from taskyard.execution.settle import settle
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.runtime.models import Lease, Worker
from taskyard.runtime.wakeup import WORK_QUEUED, wake
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)


# Asked every second, by idle workers as well.
_BEATS = f"SELECT id, beats FROM {Worker._meta.db_table}"
_NAMED = f"SELECT DISTINCT worker FROM {TABLE} WHERE lane = 2 AND worker IS NOT NULL"

#: Reading which workers have jobs passes what an old snapshot keeps (docs/decisions/0013). Once it takes this long, it
#: is done once in a while: only that a worker *without* a row has jobs is known so much later.
_SLOW_SECONDS, _RARELY_SECONDS = 0.005, 5.0

#: A rescuer that did not look for longer than this (or half the limit) was not watching throughout.
_LONGEST_GAP_SECONDS = 2.5


@dataclasses.dataclass(slots=True)
class _Sight:
    beats: int
    since: float


class Rescuer:
    """A worker is lost when this rescuer, itself connected throughout, saw no change of it for the whole limit.

    Clocks of other hosts do not matter: what counts is that the row changes, measured on this process's monotonic
    clock. After an error of its own it starts watching anew, because after a database outage every heartbeat is stale.
    """

    name = "rescuer"
    channels: Sequence[str] = ()

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._sights: dict[uuid.UUID, _Sight] = {}
        self._looked_at = monotonic()
        self._named: set[uuid.UUID] = set()
        self._next_names = self._looked_at

    def run_once(self, now: dt.datetime) -> int:
        """Look at every worker; how many jobs were given back."""
        settings = get_settings()
        sql = Sql(settings.database)
        # Before the rows are read: what they say may be old by the time the answer is here.
        began = self.monotonic()
        beats = {sql.read_uuid(worker): count for worker, count in sql.all(_BEATS, [])}
        # A running or reserved job of a worker without a row is as lost as one of a silent worker.
        is_reading = began >= self._next_names
        if is_reading:
            self._named = {sql.read_uuid(row[0]) for row in sql.all(_NAMED, [])}
        for worker in self._named:
            beats.setdefault(worker, -1)
        seen = self.monotonic()
        if is_reading and seen - began > _SLOW_SECONDS:
            self._next_names = seen + _RARELY_SECONDS
        gone = self._silent(beats, settings.worker_timeout, began, seen)
        return sum(self._rescue(sql, worker, now) for worker in gone)

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """A second: the time it adds to noticing a lost worker."""
        return dt.timedelta(seconds=1)

    def interrupted(self) -> None:
        """Not connected throughout: what was seen before does not count."""
        self._sights.clear()
        self._next_names = float("-inf")

    def stop(self) -> None:
        """Nothing to give back."""

    def _silent(self, beats: dict[uuid.UUID, int], limit: dt.timedelta, began: float, seen: float) -> list[uuid.UUID]:
        if began - self._looked_at > max(limit.total_seconds() / 2, _LONGEST_GAP_SECONDS):
            # This process was stopped, or its database did not answer: the silence may be its own.
            self._sights.clear()
        self._looked_at = began
        self._sights = {worker: sight for worker, sight in self._sights.items() if worker in beats}
        for worker, count in beats.items():
            sight = self._sights.get(worker)
            if sight is None or sight.beats != count:
                self._sights[worker] = _Sight(count, seen)
        return [w for w, sight in self._sights.items() if began - sight.since >= limit.total_seconds()]

    def _rescue(self, sql: Sql, worker: uuid.UUID, now: dt.datetime) -> int:
        limit = get_settings().worker_timeout.total_seconds()
        trouble = Trouble("WorkerLost", f"no sign of life of worker {worker} for {limit:.0f} s", "worker-lost")
        running = sql.query(
            f"SELECT id, claim FROM {TABLE} WHERE lane = 2 AND state = 'running' AND worker = %s",
            [sql.uuid(worker)],
        )
        rescued = 0
        for job_id, token in running:
            claim = find_claim(sql.read_uuid(job_id), token)
            if claim is not None:
                outcome = lost(trouble, crashes=claim.crashes, is_crash=False, poison_after=1, now=now)
                rescued += settle(claim, outcome, now)
        if free(sql, worker):
            wake(WORK_QUEUED)
        Worker.objects.using(sql.alias).filter(id=worker, beats=self._sights[worker].beats).delete()
        Lease.objects.using(sql.alias).filter(owner=worker).delete()
        del self._sights[worker]
        self._named.discard(worker)
        logger.warning("worker %s is lost; %d jobs were given back", worker, rescued)
        events.worker_lost.send_robust(Worker, worker_id=worker, jobs=rescued)
        return rescued


def free(sql: Sql, worker: uuid.UUID) -> int:
    """Let other workers take the queued jobs this one had in hand (database broker)."""
    return sql.execute(
        f"UPDATE {TABLE} SET worker = NULL WHERE lane = 2 AND state = 'queued' AND worker = %s",
        [sql.uuid(worker)],
    )
