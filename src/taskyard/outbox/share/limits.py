"""How many more jobs may start now, by what an operator allows. Pure: no rows, no clock."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

#: A feeder looks every 20 to 100 milliseconds: what is not used until then must not be lost.
_BURST_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """What an operator says of a tenant or a queue."""

    weight: float = 1.0
    #: Most jobs that are out at a time: running, or in the broker's window. None: any number.
    max_running: int | None = None
    #: Most starts in ``rate_seconds``; None: any number.
    rate: float | None = None
    rate_seconds: float = 1.0
    is_paused: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether it can hold something back."""
        return self.is_paused or self.max_running is not None or self.rate is not None

    @property
    def burst(self) -> float:
        """Most starts at once: those of a fifth of a second, and one."""
        return 1.0 + self.rate / self.rate_seconds * _BURST_SECONDS if self.rate else 0.0


#: Whoever nobody said anything about.
UNLIMITED = Limit()


@dataclasses.dataclass(slots=True)
class _Bucket:
    tokens: float
    at: dt.datetime


class Meter:
    """Counts starts against rates: a bucket of tokens for each name, which fills at the rate.

    In any period there are at most ``rate`` starts and one burst (a fifth of a second's worth, and one). A new
    meter, of a feeder that takes over, begins with one burst.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def room(self, name: str, limit: Limit, *, out: int, now: dt.datetime) -> int | None:
        """How many more may start now, with ``out`` of them out; None: any number."""
        if limit.is_paused:
            return 0
        rooms = []
        if limit.max_running is not None:
            rooms.append(max(0, limit.max_running - out))
        if limit.rate is not None:
            # A millionth, or a bucket that is full but for rounding waits for another turn.
            rooms.append(math.floor(self._filled(name, limit, now).tokens + 1e-6))
        return min(rooms) if rooms else None

    def spend(self, name: str, limit: Limit, *, starts: int, now: dt.datetime) -> None:
        """So many were started."""
        if limit.rate is not None:
            self._filled(name, limit, now).tokens -= starts

    def _filled(self, name: str, limit: Limit, now: dt.datetime) -> _Bucket:
        bucket = self._buckets.setdefault(name, _Bucket(limit.burst, now))
        elapsed = max(0.0, (now - bucket.at).total_seconds())
        bucket.tokens = min(limit.burst, bucket.tokens + elapsed * (limit.rate or 0.0) / limit.rate_seconds)
        bucket.at = now
        return bucket

    def forget(self, kept: set[str]) -> None:
        """Drop the buckets of all others."""
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in kept}
