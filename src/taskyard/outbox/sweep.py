"""Publishes queued jobs again whose message is overdue: lost with the broker, or with a feeder that died."""

from __future__ import annotations

import datetime as dt
import logging

from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.outbox import outgoing
from taskyard.outbox.outgoing import Publisher
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

_EVERY = dt.timedelta(seconds=1)
_LONGEST = dt.timedelta(minutes=10)
#: While slots of the queue stand idle, a message that does not arrive is lost rather than waiting its turn.
_LONGEST_WITH_IDLE_SLOTS = dt.timedelta(seconds=60)


def overdue_after(publishes: int, *, base: dt.timedelta, has_idle_slots: bool) -> dt.timedelta:
    """How long a job published ``publishes`` times may stay queued before it is published again: a pure rule.

    Doubles each time, because in a queue of hour-long jobs a message rightly waits for an hour. A duplicate is
    harmless: its claim finds the job taken.
    """
    longest = _LONGEST_WITH_IDLE_SLOTS if has_idle_slots else _LONGEST
    return min(base * 2 ** min(publishes - 1, 12), max(longest, base)) if publishes > 0 else base


class Sweep:
    """The feeder's second half, for brokers that can lose a message."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self._next: dict[str, dt.datetime] = {}

    def run(
        self, sql: Sql, queue: str, now: dt.datetime, *, everything: bool, has_idle_slots: bool,
        since: dt.datetime | None = None,
    ) -> int:  # fmt: skip
        """Publish overdue jobs of a queue again; with ``everything`` all queued ones (after a take-over).

        ``since``: no queued job was published earlier, and looking there is slow.
        """
        if not everything and now < self._next.get(queue, now):
            return 0
        self._next[queue] = now + _EVERY
        base = get_settings().republish_after
        oldest = now if everything else now - base
        later = " AND published_at >= %s" if since is not None else ""
        rows = sql.query(
            f"SELECT {outgoing.COLUMNS}, published_at, publishes FROM {TABLE}"
            f" WHERE lane = 2 AND queue = %s AND state = 'queued' AND published_at <= %s{later}",
            [queue, sql.time(oldest), *([sql.time(since)] if later else [])],
        )
        batch = [
            outgoing.from_row(sql, row)
            for row in rows
            if everything or _is_overdue(sql, row, now, base, has_idle_slots=has_idle_slots)
        ]
        if not batch:
            return 0
        logger.info("publishing %d overdue messages of queue %s again", len(batch), queue)
        # Refused ones stay queued and overdue: the next sweep takes them again.
        refused = {out.id for out in self.publisher.publish(batch)}
        for out in batch:
            if out.id not in refused:
                again = "published_at = %s, publishes = publishes + 1"
                sql.change(out.id, again, "state = 'queued'", [sql.time(now)], weak=True)
        return len(batch) - len(refused)


def _is_overdue(
    sql: Sql, row: tuple[object, ...], now: dt.datetime, base: dt.timedelta, *, has_idle_slots: bool
) -> bool:
    published_at, publishes = sql.read_time(row[-2]), row[-1]
    assert isinstance(publishes, int)
    wait = overdue_after(publishes, base=base, has_idle_slots=has_idle_slots)
    return published_at is None or now - published_at >= wait
