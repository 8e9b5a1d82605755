"""How many jobs of each queue are out, queued or running; also beside an old snapshot.

While somebody's old snapshot may see them, dead rows stay in the index of what is out, and counting passes every one of
them, many times a second. So once that is slow, everything is counted only as often as takes a twentieth of the time;
in between only what was published since the oldest job that was queued then, because whatever is queued later was
published later.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from taskyard.jobs.rows.sql import TABLE, Sql

#: A count that takes longer is slow.
SLOW_SECONDS = 0.005
#: Counting everything may take this part of the time.
PART = 20
#: Clocks of feeders that took over from each other may differ by this.
CLOCKS = dt.timedelta(seconds=1)

# Read in every turn, and an idle worker has one each second: through Django's models they would be most of its work.
_ALL = f"SELECT queue, state, COUNT(*), MIN(published_at) FROM {TABLE} WHERE lane = 2 GROUP BY queue, state"
_SINCE = f"SELECT state, COUNT(*) FROM {TABLE} WHERE lane = 2 AND queue = %s AND published_at >= %s GROUP BY state"

#: By queue and state.
Counts = dict[str, dict[str, int]]


class _Floor(NamedTuple):
    """Of one queue."""

    #: When the oldest of the jobs that were queued was published; none that is queued now was published earlier.
    since: dt.datetime
    #: Jobs published earlier that were running.
    earlier: int


class Out:
    """Counts what is out, for one feeder."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        #: None while counting is fast.
        self._floors: dict[str, _Floor] | None = None
        self._counted_at = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._next_count = 0.0

    def since(self, queue: str) -> dt.datetime | None:
        """No queued job of this queue was published earlier; None: nobody knows, and looking at all of them is fast."""
        floor = self._floors.get(queue) if self._floors is not None else None
        return None if floor is None else floor.since

    def forget(self) -> None:
        """Count everything in the next turn."""
        self._next_count = 0.0

    def count(self, sql: Sql, now: dt.datetime, queues: Iterable[str]) -> Counts:
        """What is out now; ``queues`` are those that this feeder may have fed since everything was counted.

        Jobs that were running then, and were published before the oldest queued one, are counted as running until
        everything is counted again.
        """
        if self._floors is not None and self._monotonic() < self._next_count:
            return self._newer(sql, queues, self._floors)
        began = self._monotonic()
        rows = sql.all(_ALL, [])
        took = self._monotonic() - began
        counts: Counts = {}
        for queue, state, count, _ in rows:
            counts.setdefault(queue, {})[state] = count
        self._floors = None
        if took > SLOW_SECONDS:
            self._next_count = self._monotonic() + PART * took
            self._floors = self._found(sql, now, rows, counts)
        return counts

    def _found(self, sql: Sql, now: dt.datetime, rows: list[tuple[Any, ...]], counts: Counts) -> dict[str, _Floor]:
        self._counted_at = now
        floors = {}
        for queue, state, _, oldest in rows:
            if state == "queued":
                floors[queue] = _Floor(min(sql.read_time(oldest) or _EARLIEST, now) - CLOCKS, 0)
        for queue in counts.keys() - floors.keys():
            floors[queue] = _Floor(now - CLOCKS, 0)
        newer = self._newer(sql, (), floors)
        return {
            queue: floor._replace(earlier=max(0, counts[queue].get("running", 0) - newer[queue].get("running", 0)))
            for queue, floor in floors.items()
        }

    def _newer(self, sql: Sql, queues: Iterable[str], floors: dict[str, _Floor]) -> Counts:
        counts: Counts = {}
        for queue in {*floors, *queues}:
            floor = floors.get(queue) or _Floor(self._counted_at - CLOCKS, 0)
            found = dict(sql.all(_SINCE, [queue, sql.time(floor.since)]))
            counts[queue] = {"queued": found.get("queued", 0), "running": found.get("running", 0) + floor.earlier}
        return counts


_EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC) + CLOCKS
