"""django-celery-beat's rows on Taskyard's engine.

``celery beat -S taskyard.compat.django_celery_beat:DatabaseScheduler``. Its tables, models and admin pages stay as they
are; what ran by them runs by them.
"""

from taskyard.compat.django_celery_beat.scheduler import DatabaseScheduler

__all__ = ["DatabaseScheduler"]
