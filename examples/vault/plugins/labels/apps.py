"""A plugin: labels for documents."""

from django.apps import AppConfig


class LabelsConfig(AppConfig):
    name = "plugins.labels"

    def ready(self) -> None:
        from plugins.labels import orchestrator  # noqa: F401
