"""Figures as a person reads them."""

from __future__ import annotations

import datetime as dt


def duration(seconds: float | dt.timedelta | None) -> str:
    """A length of time in its two largest units."""
    if seconds is None:
        return "-"
    seconds = seconds.total_seconds() if isinstance(seconds, dt.timedelta) else seconds
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d", f"{hours} h", f"{minutes} min", f"{rest} s"]
    first = next(place for place, number in enumerate((days, hours, minutes, 1)) if number)
    second = (days, hours, minutes, rest)[first + 1] if first < 3 else 0
    return f"{parts[first]} {parts[first + 1]}" if second else parts[first]


def counted(count: int, one: str, *, more: str) -> str:
    """A number with what it counts: ``1 job waits``, ``1,200 jobs wait``."""
    return f"{count:,} {one if count == 1 else more}"
