"""Celery's own Beat classes, for drop-ins that people derive theirs from."""

from celery.beat import PersistentScheduler, ScheduleEntry, Scheduler, SchedulingError

__all__ = ["PersistentScheduler", "ScheduleEntry", "Scheduler", "SchedulingError"]
