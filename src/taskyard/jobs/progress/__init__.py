"""How far jobs are: what bodies report, what readers make of it."""

from taskyard.jobs.progress.pace import Speed, percent, rate, remaining_seconds

__all__ = ["Speed", "percent", "rate", "remaining_seconds"]
