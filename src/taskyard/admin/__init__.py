"""Pages of Django's admin; found by its autodiscovery, and imported by nobody else."""

from taskyard.admin import records, schedules

__all__ = ["records", "schedules"]
