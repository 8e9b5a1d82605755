"""A plugin: telex."""

from django.apps import AppConfig


class TelexConfig(AppConfig):
    name = "plugins.telex"

    def ready(self) -> None:
        from plugins.telex import orchestrator  # noqa: F401
