"""Celery's Beat: its process running our schedules, and its ``beat_schedule`` as rows."""

from taskyard.celery.beat.scheduler import Scheduler

__all__ = ["Scheduler"]
