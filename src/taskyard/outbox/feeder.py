"""Moves due jobs into the broker's window, and publishes again what got lost there."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import logging
import uuid
from collections.abc import Sequence

from django.utils import timezone

from taskyard.errors import PublishFailed
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.outbox import outgoing, window
from taskyard.outbox.out import Out
from taskyard.outbox.outgoing import Outgoing, Publisher
from taskyard.outbox.share.tenants import Costs, Tenants
from taskyard.outbox.share.turns import Backlog, Row
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
#: How often workers are read again.
_WORKERS_EVERY = dt.timedelta(seconds=1)

# A loose index scan: one index probe for each queue, however many rows there are.
_QUEUES_WITH_WORK = f"""
WITH RECURSIVE q AS (
  SELECT (SELECT MIN(queue) FROM {TABLE} WHERE lane = 1%(gap)s) AS queue
  UNION ALL
  SELECT (SELECT MIN(queue) FROM {TABLE} WHERE lane = 1%(gap)s AND queue > q.queue) FROM q WHERE q.queue IS NOT NULL
) SELECT queue FROM q WHERE queue IS NOT NULL"""

_SOONEST = f"SELECT MIN(available_at) FROM {TABLE} WHERE lane = 0"
_LIVE_WORKERS = f"SELECT queues, slots FROM {Worker._meta.db_table} WHERE stopping_at IS NULL AND heartbeat_at > %s"

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
        self._backlogs: dict[str, Backlog] = {}
        self.out = Out()
        self.tenants = Tenants()
        self.costs = Costs()
        #: Whether a limit held something back in this turn; whether another feeder acts for all queues.
        self._is_held = self._stands_by = False
        self._workers_at: dt.datetime | None = None
        self._next_due: dt.datetime | None = None
        self._busy_at = _NEVER

    def run_once(self, now: dt.datetime) -> int:
        """Feed every queue this feeder holds the lease of; how many jobs were fed."""
        settings = get_settings()
        sql = Sql(settings.database)
        is_new = self._read_workers(sql, now)
        self.tenants.read(sql, now)
        self._is_held = False
        if not self._may_act(now):
            return 0
        if is_new:
            self.tenants.call_back(sql)
        self._next_due = _promote(sql, now)
        waiting = _with_work(sql, sorted(self._backlog)) - self.tenants.paused_queues
        self._read_window(sql, now)
        self._read_costs(sql, now)
        fed = 0
        self._backlog.clear()
        for queue in self._by_urgency(waiting | self._occupied(), settings):
            standing = self.leases.hold(f"feeder:{queue}", now)
            if not standing:
                continue
            if queue not in settings.handover and not self.publisher.rows_are_messages:
                is_idle = self._lanes[queue].running < self._slots.get(queue, 0) if queue in self._lanes else False
                since = None if standing == "taken" else self.out.since(queue)
                self.sweep.run(sql, queue, now, everything=standing == "taken", has_idle_slots=is_idle, since=since)
            if queue in waiting or (queue in settings.handover and queue not in self.tenants.paused_queues):
                fed += self._feed(sql, queue, now, settings)
        return fed

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """Short while there is work, and while windows are being emptied; else until woken."""
        if done:
            self._busy_at = timezone.now()
        if timezone.now() - self._busy_at < _STAY_AWAKE:
            return dt.timedelta(milliseconds=20)
        if any(lane.queued for lane in self._lanes.values()) or (self._is_held and self.tenants.may_soon_go_on):
            return dt.timedelta(milliseconds=100)
        if self._is_held:
            # By a pause: often enough to notice its end within a second.
            return min(dt.timedelta(milliseconds=300), get_settings().poll_interval)
        longest = get_settings().poll_interval
        longest = min(dt.timedelta(milliseconds=200), longest) if is_deaf else longest
        if self._next_due is None:
            return longest
        until_due = self._next_due - timezone.now()
        return max(dt.timedelta(milliseconds=5), min(until_due, longest))

    def interrupted(self) -> None:
        """Counts may be stale; they are read anew in each turn."""
        self._workers_at = None
        self.out.forget()
        self.tenants.forget()

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

    def _read_workers(self, sql: Sql, now: dt.datetime) -> bool:
        if self._workers_at is not None and now - self._workers_at < _WORKERS_EVERY:
            return False
        self._workers_at = now
        alive = now - 3 * get_settings().worker_timeout
        slots: dict[str, int] = {}
        rows = sql.all(_LIVE_WORKERS, [sql.time(alive)])
        self._workers = [(set(json.loads(queues)), count) for queues, count in rows]
        for queues, count in self._workers:
            for queue in queues:
                slots[queue] = slots.get(queue, 0) + count
        self._slots = slots
        self.tenants.attended = slots.keys()
        return True

    def _may_act(self, now: dt.datetime) -> bool:
        """What a tenant may have out counts over all queues: while that is limited one feeder acts for all of them."""
        if not self.tenants.is_counted or self.leases.hold("limits", now):
            self._stands_by = False
            return True
        if not self._stands_by:
            self._stands_by = True
            self.leases.release_all()
        return False

    def _read_costs(self, sql: Sql, now: dt.datetime) -> None:
        shared = {queue: backlog for queue, backlog in self._backlogs.items() if backlog.is_shared}
        if not shared or not self.costs.is_due(now):
            return
        weights = self.tenants.weights
        for ended in self.costs.ended(sql, now):
            level = shared[ended.queue].levels.get(ended.priority) if ended.queue in shared else None
            if level is not None:
                weight = weights.get(ended.tenant, 1.0)
                level.shares.correct(ended.tenant, ended.jobs, seconds=ended.seconds, weight=weight)
        running = self.costs.running(sql, now)
        for queue, backlog in shared.items():
            for priority, level in backlog.levels.items():
                level.shares.run(running.get((queue, priority), {}), weights)

    def _read_window(self, sql: Sql, now: dt.datetime) -> None:
        seen = self.out.count(sql, now, self._lanes)
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
        seconds = window.SHARED_SECONDS if self._backlog_of(queue).has_tenants else window.HALF_A_SECOND
        wanted = window.target(
            lane.demand, unattended=settings.window_unattended, most=settings.window_max, seconds=seconds
        )
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
        self.tenants.spend_queue(queue, len(batch), now=now)
        fault_point("feeder.marked")
        self._publish(sql, batch)
        # Only now: what was refused must not look like jobs that were taken.
        self._lanes[queue].fed += len(batch)
        if batch:
            self._lanes[queue].fed_at = now
        fault_point("feeder.published")
        return len(batch)

    def _take(self, sql: Sql, queue: str, now: dt.datetime, room: int) -> list[Row]:
        lane, backlog = self._lanes[queue], self._backlog_of(queue)
        allowed = self.tenants.queue_room(queue, now, out=lane.queued + lane.fed + lane.running)
        most = room if allowed is None else min(room, allowed)
        rows = backlog.take(sql, now, room=most, terms=self.tenants) if most > 0 else []
        self._is_held = self._is_held or most < room or backlog.is_held
        return rows

    def _backlog_of(self, queue: str) -> Backlog:
        return self._backlogs.setdefault(queue, Backlog(queue))

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
        paused = self.tenants.paused_tenants
        others = f" AND tenant NOT IN ({', '.join(['%s'] * len(paused))})" if paused else ""
        rows = sql.take(
            "state = 'queued', published_at = %s, publishes = 1", f"lane = 1 AND queue = %s{others}",
            [sql.time(now), queue, *paused], order="priority DESC, tenant, available_at, id", limit=BATCH,
            returning=f"{outgoing.COLUMNS}, args, kwargs",
        )  # fmt: skip
        batch = [(outgoing.from_row(sql, row), row[-2], row[-1]) for row in rows]
        refused = self.publisher.publish_in_full(batch) if batch else []
        put_back(sql, refused)
        gone = {out.id for out, _, _ in batch} - {out.id for out in refused}
        for job_id in gone:
            # What becomes of it is not ours to know: handed over is where our record ends.
            assign = "state = 'succeeded', finished_at = %s, unique_lock = NULL"
            sql.end(job_id, assign, "state = 'queued'", [sql.time(now)], state="succeeded")
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
