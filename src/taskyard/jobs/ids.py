"""Job ids: time-ordered UUIDs, and one for every foreign id."""

from __future__ import annotations

import os
import threading
import time
import uuid

#: Namespace of ids that are not UUIDs themselves (Celery allows ``task_id="report-17"``).
_NAMESPACE = uuid.UUID("6f2d1b1e-4c11-5e0a-9d57-7461736b7961")

_lock = threading.Lock()
_last = 0


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562 §5.7, method 3): within this process, later ids sort after earlier ones.

    48 bits of milliseconds, then 12 bits of sub-millisecond time that double as a counter, then 62 random bits.
    """
    global _last
    with _lock:
        ticks = max((time.time_ns() << 12) // 1_000_000, _last + 1)
        _last = ticks
    high = ((ticks >> 12) & ((1 << 48) - 1)) << 16 | 0x7000 | (ticks & 0xFFF)
    low = 0x8000_0000_0000_0000 | int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=high << 64 | low)


def job_id(task_id: str) -> uuid.UUID:
    """The row id of a Celery task id: itself if it is a UUID, else a stable one made from it (UUIDv5)."""
    try:
        return uuid.UUID(task_id)
    except ValueError:
        return uuid.uuid5(_NAMESPACE, task_id)


def original_id(task_id: str) -> str:
    """What to keep beside the row id to give the caller's own spelling back; empty where the id says it all."""
    return "" if str(job_id(task_id)) == task_id else task_id
