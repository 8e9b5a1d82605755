"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TaskyardConfig(AppConfig):
    """``INSTALLED_APPS += ["taskyard"]``; no database or network access at start-up."""

    name = "taskyard"
    verbose_name = _("Background work")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Open the doors between declarations and the rooms that serve them."""
        from taskyard import checks, wiring

        checks.register()
        wiring.connect()
