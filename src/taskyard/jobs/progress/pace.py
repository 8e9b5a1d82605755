"""How far, how fast, how long yet: pure, from numbers and moments."""

from __future__ import annotations

import datetime as dt
import math
from collections import deque

#: Time that a speed is measured over: long enough for bursts, short enough to notice a change.
WINDOW = dt.timedelta(seconds=30)
#: Less than this says nothing about a speed.
_LEAST_SECONDS = 0.2


def percent(current: float | None, total: float | None) -> float | None:
    """0 to 100 with two digits, rounded down, so that 100 means all of it; None where there is no total."""
    if current is None or not total or total < 0:
        return None
    return math.floor(min(max(current / total, 0.0), 1.0) * 10_000) / 100


def rate(done: float | None, took: dt.timedelta | None) -> float | None:
    """Per second; None where nothing is done, or it took no time."""
    if not done or done < 0 or took is None or took.total_seconds() < _LEAST_SECONDS:
        return None
    return done / took.total_seconds()


def remaining_seconds(current: float | None, total: float | None, *, per_second: float | None) -> float | None:
    """How long the rest takes at that speed; None where it cannot be told."""
    if current is None or not total or not per_second:
        return None
    return max(total - current, 0.0) / per_second


class Speed:
    """The speed of something that is looked at again and again, over the last 30 seconds.

    An average since the start is misled by an attempt that went on from a checkpoint, and by a slow beginning.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[dt.datetime, float]] = deque()
        self._of: object = None

    def look(self, at: dt.datetime, current: float, *, of: object = None) -> float | None:
        """The speed as of this look; ``of`` names what was counted (an attempt, a total): another one begins anew."""
        if of != self._of or (self._seen and current < self._seen[-1][1]):
            self._seen.clear()
            self._of = of
        if not self._seen or at > self._seen[-1][0]:
            self._seen.append((at, current))
        while len(self._seen) > 2 and at - self._seen[1][0] >= WINDOW:
            self._seen.popleft()
        (since, before), (until, now) = self._seen[0], self._seen[-1]
        return rate(now - before, until - since)
