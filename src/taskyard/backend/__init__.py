"""Taskyard behind ``django.tasks``, on Django 5.2 behind ``django-tasks``: what is enqueued there is a job here."""

from __future__ import annotations

from taskyard.backend.backend import TaskyardBackend
from taskyard.backend.task import TaskyardTask

__all__ = ["TaskyardBackend", "TaskyardTask"]
