"""Holding a rate: so many a second, neither in one go nor drifting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

#: The longest wait without a word.
WORD_SECONDS = 0.25
#: Whoever is later than this (a database was away, a process stopped) does not catch up: much would come at once.
_LATEST_SECONDS = 1.0
#: Less is not worth waiting for, and may be a rounding error that no wait makes up for.
_INSTANT_SECONDS = 0.001


def paced(
    parts: Iterator[Sequence[T]], per_second: float | None, *, monotonic: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] | None = None,
) -> Iterator[Sequence[T]]:  # fmt: skip
    """The same parts, each fetched when its time has come; whoever stops taking stops it.

    The rate is held over the whole, within the time that one part takes. While a part's time has not come, an empty one
    comes four times a second, to look whether to go on. None: as they come.
    """
    wait = wait or threading.Event().wait
    due = monotonic()
    while True:
        while per_second is not None and (early := due - monotonic()) > _INSTANT_SECONDS:
            wait(min(early, WORD_SECONDS))
            yield ()
        # Not before: what is read ahead of its time may have moved on.
        part = next(parts, None)
        if part is None:
            return
        due = max(due, monotonic() - _LATEST_SECONDS) + len(part) / per_second if per_second is not None else due
        yield part
