"""Moves due jobs into the broker's window, and publishes again what got lost there."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import logging
import uuid
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from taskyard.errors import PublishFailed
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.outbox import outgoing, window
from taskyard.outbox.models import QueueSetting
from taskyard.outbox.outgoing import Outgoing, Publisher
from taskyard.outbox.sweep import Sweep
from taskyard.runtime.faults import fault_point
from taskyard.runtime.lease import Leases
from taskyard.runtime.models import Worker
from taskyard.runtime.wakeup import PAUSE_SECONDS, WORK_QUEUED, WORK_WRITTEN, wake
from taskyard.settings import Settings, get_settings

logger = logging.getLogger(__name__)

#: Most rows of one UPDATE.
BATCH = 500
#: After work it keeps looking for this long: a burst of enqueues sends one notification, at its beginning.
_STAY_AWAKE = dt.timedelta(seconds=4 * PAUSE_SECONDS)
#: How often workers and paused queues are read again.
_WORKERS_EVERY = dt.timedelta(seconds=1)

# A loose index scan: one index probe for each queue, however many rows there are.
_QUEUES_WITH_WORK = f"""
WITH RECURSIVE q AS (
  SELECT (SELECT MIN(queue) FROM {TABLE} WHERE lane = 1%(gap)s) AS queue
  UNION ALL
  SELECT (SELECT MIN(queue) FROM {TABLE} WHERE lane = 1%(gap)s AND queue > q.queue) FROM q WHERE q.queue IS NOT NULL
) SELECT queue FROM q WHERE queue IS NOT NULL"""
#: How often a queue with a backlog is looked at from its beginning.
_SCAN_EVERY = dt.timedelta(seconds=1)


# Read in every turn, and an idle worker has one each second: through Django's models they would be most of its work.
_WINDOWS = f"SELECT queue, state, COUNT(*) FROM {TABLE} WHERE lane = 2 GROUP BY queue, state"
_SOONEST = f"SELECT MIN(available_at) FROM {TABLE} WHERE lane = 0"
_LIVE_WORKERS = f"SELECT queues, slots FROM {Worker._meta.db_table} WHERE stopping_at IS NULL AND heartbeat_at > %s"
_PAUSED_QUEUES = f"SELECT name FROM {QueueSetting._meta.db_table} WHERE paused_at IS NOT NULL"

_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclasses.dataclass(slots=True)
class _Lane:
    """What the feeder remembers about one queue between turns."""

    rate: float = 0.0
    #: As of the last turn. What runs proves that there are slots, though the workers were read before theirs came.
    demand: window.Demand = window.NO_DEMAND
    queued: int = 0
    running: int = 0
    fed: int = 0
    #: How many left the window since the rate was measured last.
    taken: int = 0
    measured_at: dt.datetime = _NEVER
    #: Priority and time of the last row that was taken, while more are waiting behind it.
    mark: tuple[int, dt.datetime] | None = None
    #: When it was looked at from its beginning.
    scanned_at: dt.datetime = _NEVER
    #: When the last of its jobs was fed: of equally urgent queues the one that waited longest comes first.
    fed_at: dt.datetime = _NEVER


class Feeder:
    """One acts per queue at a time (a lease); others stand by."""

    name = "feeder"
    channels: Sequence[str] = (WORK_WRITTEN,)

    def __init__(self, owner: uuid.UUID, publisher: Publisher) -> None:
        self.publisher = publisher
        self.leases = Leases(owner)
        self.sweep = Sweep(publisher)
        self._lanes: dict[str, _Lane] = {}
        self._slots: dict[str, int] = {}
        #: The queues of each live worker, and its slots.
        self._workers: list[tuple[set[str], int]] = []
        #: Queues with more due work than this turn had room for.
        self._backlog: set[str] = set()
        #: Queues whose last batch was refused: they come last, or one that cannot be published starves the others.
        self._refusing: set[str] = set()
        self._paused: set[str] = set()
        self._workers_at: dt.datetime | None = None
        self._next_due: dt.datetime | None = None
        self._busy_at = _NEVER

    def run_once(self, now: dt.datetime) -> int:
        """Feed every queue this feeder holds the lease of; how many jobs were fed."""
        settings = get_settings()
        sql = Sql(settings.database)
        self._read_workers(sql, now)
        self._next_due = _promote(sql, now)
        waiting = _with_work(sql, sorted(self._backlog)) - self._paused
        self._read_window(sql, now)
        fed = 0
        self._backlog.clear()
        for queue in self._by_urgency(waiting | self._occupied(), settings):
            standing = self.leases.hold(f"feeder:{queue}", now)
            if not standing:
                continue
            if queue not in settings.handover and not self.publisher.rows_are_messages:
                is_idle = self._lanes[queue].running < self._slots.get(queue, 0) if queue in self._lanes else False
                self.sweep.run(sql, queue, now, everything=standing == "taken", has_idle_slots=is_idle)
            if queue in waiting or (queue in settings.handover and queue not in self._paused):
                fed += self._feed(sql, queue, now, settings)
        return fed

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """Short while there is work, and while windows are being emptied; else until woken."""
        if done:
            self._busy_at = timezone.now()
        if timezone.now() - self._busy_at < _STAY_AWAKE:
            return dt.timedelta(milliseconds=20)
        if any(lane.queued for lane in self._lanes.values()):
            return dt.timedelta(milliseconds=100)
        longest = get_settings().poll_interval
        longest = min(dt.timedelta(milliseconds=200), longest) if is_deaf else longest
        if self._next_due is None:
            return longest
        until_due = self._next_due - timezone.now()
        return max(dt.timedelta(milliseconds=5), min(until_due, longest))

    def interrupted(self) -> None:
        """Counts may be stale; they are read anew in each turn."""
        self._workers_at = None

    def stop(self) -> None:
        """Let another feeder take over at once."""
        self.leases.release_all()

    def _by_urgency(self, queues: set[str], settings: Settings) -> list[str]:
        place, unknown = _urgency(settings), _Lane()

        def rank(queue: str) -> tuple[bool, int, dt.datetime, str]:
            fed_at = self._lanes.get(queue, unknown).fed_at
            return queue in self._refusing, place.get(queue, len(place)), fed_at, queue

        return sorted(queues, key=rank)

    def _occupied(self) -> set[str]:
        return {queue for queue, lane in self._lanes.items() if lane.queued}

    def _read_workers(self, sql: Sql, now: dt.datetime) -> None:
        if self._workers_at is not None and now - self._workers_at < _WORKERS_EVERY:
            return
        self._workers_at = now
        alive = now - 3 * get_settings().worker_timeout
        slots: dict[str, int] = {}
        rows = sql.all(_LIVE_WORKERS, [sql.time(alive)])
        self._workers = [(set(json.loads(queues)), count) for queues, count in rows]
        for queues, count in self._workers:
            for queue in queues:
                slots[queue] = slots.get(queue, 0) + count
        self._slots = slots
        self._paused = {row[0] for row in sql.all(_PAUSED_QUEUES, [])}

    def _read_window(self, sql: Sql, now: dt.datetime) -> None:
        counts = sql.all(_WINDOWS, [])
        seen: dict[str, dict[str, int]] = {}
        for queue, state, count in counts:
            seen.setdefault(queue, {})[state] = count
        for queue in {*seen, *self._lanes}:
            lane = self._lanes.setdefault(queue, _Lane())
            queued = seen.get(queue, {}).get("queued", 0)
            lane.taken += max(0, lane.queued + lane.fed - queued)
            elapsed = (now - lane.measured_at).total_seconds()
            lane.rate = window.next_rate(lane.rate, lane.taken, elapsed, ran_dry=queued == 0)
            if (queued == 0 and lane.taken) or elapsed >= window.SHORTEST_LOOK_SECONDS:
                lane.taken, lane.measured_at = 0, now
            lane.queued, lane.running, lane.fed = queued, seen.get(queue, {}).get("running", 0), 0

    def _room(self, queue: str, settings: Settings) -> int:
        lane = self._lanes.setdefault(queue, _Lane())
        place = _urgency(settings)
        urgent = {rival for rival in self._backlog if place.get(rival, len(place)) < place.get(queue, len(place))}
        serving = [worker for worker in self._workers if queue in worker[0]]
        # A worker that also serves a more urgent queue with a backlog has nothing left for this one.
        free = [worker for worker in serving if not worker[0] & urgent]
        if serving and not free:
            return 0
        lane.demand = window.Demand(sum(slots for _, slots in free) or lane.running, lane.rate)
        wanted = window.target(lane.demand, unattended=settings.window_unattended, most=settings.window_max)
        # Queues that share workers share the window: what stands there already comes first.
        rivals = {queue}.union(*(queues for queues, _ in free)) & set(self._lanes)
        return wanted - sum(self._lanes[rival].queued + self._lanes[rival].fed for rival in rivals)

    def _feed(self, sql: Sql, queue: str, now: dt.datetime, settings: Settings) -> int:
        if queue in settings.handover:
            return self._hand_over(sql, queue, now)
        room = min(self._room(queue, settings), BATCH)
        if room <= window.least(self._lanes[queue].queued):
            self._backlog.add(queue)
            return 0
        batch = [outgoing.from_row(sql, row) for row in self._take(sql, queue, now, room)]
        if len(batch) == room:
            self._backlog.add(queue)
        fault_point("feeder.marked")
        self._publish(sql, batch)
        # Only now: what was refused must not look like jobs that were taken.
        self._lanes[queue].fed += len(batch)
        self._lanes[queue].fed_at = now
        fault_point("feeder.published")
        return len(batch)

    def _take(self, sql: Sql, queue: str, now: dt.datetime, room: int) -> list[tuple[Any, ...]]:
        """Move the first rows of a queue to ``queued``.

        Rows that were taken before stay in the index while somebody's old snapshot may see them, and every look from
        the beginning passes all of them. So behind a backlog's last row the next look goes on; what came to stand
        before it meanwhile, because its transaction took longer, is found within ``_SCAN_EVERY``.
        """
        lane = self._lanes[queue]
        rows: list[tuple[Any, ...]] = []
        if lane.mark is not None and now - lane.scanned_at < _SCAN_EVERY:
            priority, moment = lane.mark
            rows += self._take_part(sql, now, room, "queue = %s AND priority > %s", [queue, priority])
            after, params = "queue = %s AND priority = %s AND available_at >= %s", [queue, priority, sql.time(moment)]
            rows += self._take_part(sql, now, room - len(rows), after, params)
        if len(rows) < room:
            lane.scanned_at = now
            rows += self._take_part(sql, now, room - len(rows), "queue = %s", [queue])
        # RETURNING has no order of its own.
        rows.sort(key=lambda row: (-row[4], row[-1], str(row[0])))
        last = sql.read_time(rows[-1][-1]) if rows else None
        lane.mark = (rows[-1][4], last) if len(rows) == room and last is not None else None
        return rows

    def _take_part(
        self, sql: Sql, now: dt.datetime, room: int, where: str, params: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        if room <= 0:
            return []
        return sql.take(
            "state = 'queued', published_at = %s, publishes = 1, worker = NULL", f"lane = 1 AND {where}",
            [sql.time(now), *params],
            order="priority DESC, available_at, id", limit=room, returning=outgoing.COLUMNS,
        )  # fmt: skip

    def _publish(self, sql: Sql, batch: Sequence[Outgoing]) -> None:
        if not batch:
            return
        refused = [] if self.publisher.rows_are_messages else self._send(batch)
        if refused:
            put_back(sql, refused)
            self._refusing.add(batch[0].queue)
            raise PublishFailed(f"{len(refused)} of {len(batch)} messages were not confirmed; they stay in the table")
        self._refusing.discard(batch[0].queue)
        if self.publisher.rows_are_messages:
            wake(WORK_QUEUED)
        self.publisher.announce(batch)

    def _send(self, batch: Sequence[Outgoing]) -> Sequence[Outgoing]:
        lane = self._lanes.setdefault(batch[0].queue, _Lane())
        return self.publisher.publish(batch, together=window.together(lane.demand))

    def _hand_over(self, sql: Sql, queue: str, now: dt.datetime) -> int:
        # Nobody claims these: what is still queued was marked by a feeder that did not live to see it confirmed.
        sql.execute(
            f"UPDATE {TABLE} SET state = 'pending', publishes = 0 WHERE lane = 2 AND state = 'queued' AND queue = %s",
            [queue],
        )
        rows = sql.take(
            "state = 'queued', published_at = %s, publishes = 1", "lane = 1 AND queue = %s", [sql.time(now), queue],
            order="priority DESC, available_at, id", limit=BATCH, returning=f"{outgoing.COLUMNS}, args, kwargs",
        )  # fmt: skip
        batch = [(outgoing.from_row(sql, row), row[-2], row[-1]) for row in rows]
        refused = self.publisher.publish_in_full(batch) if batch else []
        put_back(sql, refused)
        gone = {out.id for out, _, _ in batch} - {out.id for out in refused}
        for job_id in gone:
            # What becomes of it is not ours to know: handed over is where our record ends.
            sql.change(
                job_id, "state = 'succeeded', finished_at = %s, unique_lock = NULL", "state = 'queued'", [sql.time(now)]
            )
        return len(gone)


def _with_work(sql: Sql, known: Sequence[str]) -> set[str]:
    """The queues with due rows: those that are known to have some, and whatever lies between their names."""
    found = set(known)
    for low, high in itertools.pairwise([None, *known, None]):
        bounds = [(" AND queue > %s", low), (" AND queue < %s", high)]
        gap = "".join(condition for condition, name in bounds if name is not None)
        params = [name for _, name in bounds if name is not None]
        found.update(row[0] for row in sql.all(_QUEUES_WITH_WORK % {"gap": gap}, params * 2))
    return found


def _promote(sql: Sql, now: dt.datetime) -> dt.datetime | None:
    """Turn rows whose time has come; when the next one will be due.

    Rows of the future are not in the feed index at all, so that a million of them cost a feeder nothing.
    """
    soonest = sql.read_time(sql.all(_SOONEST, [])[0][0])
    if soonest is not None and soonest <= now:
        # Ordered, or a planner that believes many rows to be due scans the table for the first of them.
        sql.take(
            "due = %s", "lane = 0 AND available_at <= %s", [True, sql.time(now)],
            order="available_at", limit=BATCH, returning="id",
        )  # fmt: skip
    return soonest


def put_back(sql: Sql, batch: Sequence[Outgoing]) -> None:
    """Return queued jobs whose message did not reach the broker to the table."""
    for out in batch:
        state = "pending" if out.attempt == 0 else "retrying"
        sql.change(out.id, "state = %s, publishes = 0", "state = 'queued'", [state])


def _urgency(settings: Settings) -> dict[str, int]:
    return {name: place for place, name in enumerate(settings.queues)}
