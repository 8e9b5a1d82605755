"""Progress of code that knows nothing of jobs: a service that calls back with numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from taskyard.jobs.current import find_current_job
from taskyard.jobs.progress.report import checked


def progress_callback(fallback: Callable[..., object] | None = None) -> Callable[..., None]:
    """A callback that reports to the job that runs here, for a service that takes one.

    The service may call it as ``callback(current, total, message)``, with keywords
    (``callback(created=3, updated=1, skipped=0, processed=4, total=10)``) or with one mapping of these. ``processed``
    is ``current``; without either it is the sum of the other numbers, which are shown by their names. Numbers are
    totals so far, not steps. Where no job runs it calls ``fallback`` the same way, or does nothing.

    Raises :class:`~taskyard.errors.JobCancelled` into the service when a cancel was asked for. It may be called from
    threads that the service starts. Raises :class:`~taskyard.errors.InvalidProgress` for what is no number.
    """
    # Kept: threads that the service starts do not know whose job it is.
    owner = find_current_job()

    def report(*given: Any, **named: Any) -> None:
        job = owner or find_current_job()
        if job is None:
            if fallback is not None:
                fallback(*given, **named)
            return
        job.raise_if_cancelled()
        current, total, message, counts = _understood(*given, **named)
        if counts:
            job.tally(counts)
        if current is not None or total is not None or message:
            reached = 0 if current is None else checked(current, "processed")
            job.progress(reached, None if total is None else checked(total, "total"), message)

    return report


def _understood(
    current: Any = None, total: Any = None, message: str = "", **counts: Any
) -> tuple[Any, Any, str, dict[str, Any]]:
    if isinstance(current, Mapping):
        return _understood(**{**current, **counts})
    current = counts.pop("processed", current)
    if current is None and counts:
        current = sum(checked(value, f"the count {name!r}") for name, value in counts.items())
    return current, total, message, counts
