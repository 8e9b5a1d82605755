"""What can be done with documents."""

from django.core.cache import cache
from orchestrators.registry import Orchestrator

from documents.models import Document
from documents.tasks import reindex


class Documents(Orchestrator):
    name = "documents"

    def publish(self, document: int) -> str:
        """From here on it is found by its words."""
        found = Document.objects.get(pk=document)
        found.published = True
        found.save()
        cache.set("last-published", found.title)
        # A job in the transaction of this database: there when it commits, and only then.
        reindex.enqueue()
        self._write_down(f"{found} published")
        return found.title

    def import_all(self, titles: list[str]) -> int:
        """All of them or none: an empty title undoes the import, and the re-indexing with it."""
        reindex.enqueue()
        for title in titles:
            if not title:
                raise ValueError("A document needs a title.")
            Document.objects.create(title=title, words=title.lower())
        self._write_down(f"{len(titles)} documents imported")
        return len(titles)
