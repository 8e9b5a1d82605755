"""A due time, and what every recurrence can be asked."""

from __future__ import annotations

import abc
import datetime as dt
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple

from taskyard.errors import InvalidRecurrence

#: Most due times that one question is answered with.
MOST = 1_000

Mark = Literal["", "gap", "fold"]


class Due(NamedTuple):
    """One due time.

    ``at`` is the key of an occurrence: no recurrence is due twice at one instant, and the same recurrence gives the
    same instants whenever it is asked. ``nominal`` is for people: by itself it is no key, because two due times can
    have the same wall-clock time (a repeated hour, or a schedule that moved to another zone).
    """

    #: When it runs: an aware datetime in UTC.
    at: dt.datetime
    #: The wall-clock time asked for, naive, in the recurrence's zone; ``fold=1`` in the second pass of a repeated hour.
    nominal: dt.datetime
    #: ``gap``: the clocks skip ``nominal``, so ``at`` is another time of day; ``fold``: they show ``nominal`` twice.
    mark: Mark = ""


class Recurrence(abc.ABC):
    """Due times in order. Values: equal, hashable, stored as JSON; no clock inside."""

    __slots__ = ()
    #: How the JSON form names it.
    kind: ClassVar[str]

    @abc.abstractmethod
    def iter_from(self, after: dt.datetime) -> Iterator[Due]:
        """Due times later than ``after``, each later than the one before, as they are asked for; maybe without end."""

    @abc.abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain data that :func:`recurrence_from_json` makes an equal recurrence of."""

    def next(self, n: int, after: dt.datetime) -> list[Due]:
        """The first ``n`` (up to 1,000) due times later than ``after``; fewer where there are no more."""
        return list(itertools.islice(self.iter_from(after), counted(n, "n")))

    def between(self, after: dt.datetime, until: dt.datetime, *, limit: int = MOST) -> list[Due]:
        """The first ``limit`` (up to 1,000) due times later than ``after`` and no later than ``until``."""
        until = in_utc(until, "until")
        within = itertools.takewhile(lambda due: due.at <= until, self.iter_from(after))
        return list(itertools.islice(within, counted(limit, "limit")))


def counted(n: int, name: str) -> int:
    """``n`` if that many due times may be asked for."""
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= MOST:
        raise InvalidRecurrence(f"{name}={n!r}", f"due times can be asked for from 0 to {MOST:,} at a time")
    return n


def in_utc(moment: Any, name: str) -> dt.datetime:
    """An aware datetime in UTC; a naive one is refused, because nobody knows when that is."""
    if not isinstance(moment, dt.datetime) or moment.utcoffset() is None:
        raise InvalidRecurrence(f"{name}={moment!r}", "it must be a datetime with a time zone")
    return moment.astimezone(dt.UTC)
