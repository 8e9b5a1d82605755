"""How close together due times can come: a proof, not a sample."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from functools import lru_cache

from taskyard.schedules.recurrence.cron import Cron
from taskyard.schedules.recurrence.due import Recurrence
from taskyard.schedules.recurrence.every import At, Every
from taskyard.schedules.recurrence.expression import walls

_DAY = dt.timedelta(days=1)
_SOME_DAY = dt.datetime.fromisoformat("2000-01-01T00:00:00")
#: Dates, weekdays and leap years come round in 28 years, as long as each fourth year is a leap year (1901 to 2099).
_CYCLE = _SOME_DAY.replace(year=2028 + 1)


def shortest_gap(recurrence: Recurrence) -> dt.timedelta | None:
    """The least time from one due time to the next, as clocks show it; None: it is due once.

    Of a cron that is wall-clock time: a day is a day also where clocks change, and the hour that is skipped or shown
    twice then does not count.
    """
    match recurrence:
        case Every():
            return recurrence.interval
        case Cron():
            return _of_cron(recurrence.expression)
        case At():
            return None
    raise TypeError(f"shortest_gap() takes a recurrence, not {recurrence!r}")


@lru_cache(maxsize=1_024)
def _of_cron(expression: str) -> dt.timedelta:
    """The same times on each of its days: so the least is within a day, or from one of its days to the nearest."""
    minute, hour, *days = expression.split(" ")
    before = _SOME_DAY - dt.timedelta(minutes=1)
    times = list(itertools.takewhile(lambda wall: wall < _SOME_DAY + _DAY, walls(f"{minute} {hour} * * *", before)))
    across = _least_days(days) - (times[-1] - times[0])
    return min([across, *(later - earlier for earlier, later in itertools.pairwise(times))])


def _least_days(fields: Sequence[str]) -> dt.timedelta:
    """From one of its days to the next, at least."""
    dates = itertools.takewhile(lambda wall: wall < _CYCLE, walls(f"0 0 {' '.join(fields)}", _SOME_DAY - _DAY))
    least = _CYCLE - _SOME_DAY
    for earlier, later in itertools.pairwise(dates):
        least = min(least, later - earlier)
        if least == _DAY:
            break
    return least
