"""The documents, and what can be done with them."""

from django.apps import AppConfig


class DocumentsConfig(AppConfig):
    name = "documents"

    def ready(self) -> None:
        from documents import orchestrator  # noqa: F401
