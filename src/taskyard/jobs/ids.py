"""Job ids: time-ordered UUIDs, and one for every foreign id."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator

#: Namespace of ids that are not UUIDs themselves (Celery allows ``task_id="report-17"``).
_NAMESPACE = uuid.UUID("6f2d1b1e-4c11-5e0a-9d57-7461736b7961")

#: The two highest bits of the last eight bytes are 10 (RFC 9562 §4.1).
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}

_lock = threading.Lock()
_last = 0


def _ticks(count: int) -> int:
    # The first of that many, each a 4096th of a millisecond after the one before.
    global _last
    with _lock:
        first = max((time.time_ns() << 12) // 1_000_000, _last + 1)
        _last = first + count - 1
    return first


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562 §5.7, method 3): within this process, later ids sort after earlier ones.

    48 bits of milliseconds, then 12 bits of sub-millisecond time that double as a counter, then 62 random bits.
    """
    ticks = _ticks(1)
    high = ((ticks >> 12) & ((1 << 48) - 1)) << 16 | 0x7000 | (ticks & 0xFFF)
    low = 0x8000_0000_0000_0000 | int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=high << 64 | low)


def new_id_texts(count: int) -> Iterator[str]:
    """The same as text, for many at once: in the making of a row the object alone would cost as much as the rest."""
    first, random = _ticks(count), os.urandom(8 * count).hex()
    for place in range(count):
        ticks, low = first + place, random[place * 16 : place * 16 + 16]
        time_low = f"{(ticks >> 12) & ((1 << 48) - 1):012x}"
        yield f"{time_low[:8]}-{time_low[8:]}-7{ticks & 0xFFF:03x}-{_VARIANT[low[0]]}{low[1:4]}-{low[4:]}"


def job_id(task_id: str) -> uuid.UUID:
    """The row id of a Celery task id: itself if it is a UUID, else a stable one made from it (UUIDv5)."""
    try:
        return uuid.UUID(task_id)
    except ValueError:
        return uuid.uuid5(_NAMESPACE, task_id)


def original_id(task_id: str) -> str:
    """What to keep beside the row id to give the caller's own spelling back; empty where the id says it all."""
    return "" if str(job_id(task_id)) == task_id else task_id
