"""What readers are sent of a job."""

from __future__ import annotations

from typing import Any

from taskyard.jobs.progress.reading import JobProgress
from taskyard.jobs.progress.words import says


def as_json(reference: str, progress: JobProgress) -> dict[str, Any]:
    """A job under the name it was asked for by; nothing of its payload."""
    return {
        "job": reference, "state": progress.state, "words": progress.words, "says": says(progress),
        "is_final": progress.is_final, "attempt": progress.attempt, "max_attempts": progress.max_attempts,
        "is_of_earlier_attempt": progress.is_of_earlier_attempt, "current": progress.current, "total": progress.total,
        "percent": progress.percent, "message": progress.message, "counts": dict(progress.counts),
        "rate": _rounded(progress.rate), "remaining_seconds": _rounded(progress.remaining_seconds),
        "updated_at": progress.updated_at.isoformat() if progress.updated_at else None,
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
