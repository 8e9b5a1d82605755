"""An orchestrator that is there while its plugin is active."""

from documents.models import Document
from orchestrators.registry import Orchestrator


class Labels(Orchestrator):
    name = "labels"

    def apply(self, document: int, label: str) -> str:
        found = Document.objects.get(pk=document)
        found.labels = " ".join({*found.labels.split(), label})
        found.save()
        self._write_down(f"{found} labelled {label}")
        return found.labels
