"""Progress in words, the same on pages and in terminals."""

from __future__ import annotations

from collections.abc import Iterator

from taskyard.jobs.progress.reading import JobProgress


def says(progress: JobProgress) -> str:
    """Everything there is to say beside the state, in one line; empty for a job that reports nothing."""
    return ", ".join(_parts(progress))


def _parts(progress: JobProgress) -> Iterator[str]:
    current, total = progress.current, progress.total
    if current is not None and total:
        yield f"{number(current)} of {number(total)} ({progress.percent:.0f} %)"
    elif current is not None:
        yield number(current)
    if progress.rate is not None:
        yield per_time(progress.rate)
    if progress.remaining_seconds is not None:
        yield f"{roughly(progress.remaining_seconds)} left"
    if progress.family is not None and progress.family.failed:
        yield f"{progress.family.failed:,} failed"
    for name, count in progress.counts.items():
        # How many succeeded is what the bar says.
        if count and name != "succeeded":
            yield f"{count:,} {name}"
    if progress.message:
        yield progress.message


def per_time(per_second: float) -> str:
    """A rate, in the unit in which there is at least one."""
    for unit, length in (("a second", 1), ("a minute", 60), ("an hour", 3600)):
        if per_second * length >= 1:
            return f"{number(per_second * length)} {unit}"
    return f"{number(per_second * 86_400)} a day"


def number(value: float) -> str:
    """Without a fraction where it has none, or is too large for it to matter."""
    return f"{value:,.1f}" if value % 1 and value < 100 else f"{value:,.0f}"


def roughly(seconds: float) -> str:
    """A length of time as one would guess it."""
    if seconds < 10:
        return "a few seconds"
    for unit, length in (("s", 1), ("min", 60), ("h", 3600)):
        if seconds < 90 * length or (unit == "h" and seconds < 36 * length):
            return f"about {seconds / length:.0f} {unit}"
    return f"about {seconds / 86_400:.0f} days"
