"""Work on documents. Every task may run again at any moment, and returns a dict that says what it did."""

import logging
from typing import Any

from config.items import do_each
from config.retrying import TRANSIENT
from django.utils import timezone

from documents import fetching, hashing, syncing
from documents.models import Document, Embedding, Source
from taskyard import Discard, progress_callback, task

logger = logging.getLogger(__name__)
Result = dict[str, Any]


@task(retry=TRANSIENT, unique="document_id", unique_until="start")
def embed_document(document_id: int) -> Result:
    """The vector of one document. Enqueued when it is saved for the first time."""
    document = Document.objects.filter(pk=document_id).first()
    if document is None:
        raise Discard(f"document {document_id} is gone")
    is_new = embed(document)
    logger.info("document %s: embedding %s", document_id, "written" if is_new else "was there")
    return {"success": True, "document": document_id, "written": is_new}


@task(unique=True)
def batch_embed_documents() -> Result:
    """The vectors of all that have none, or one of an older text."""
    missing = list(Document.objects.to_embed().order_by("pk"))
    result = do_each(missing, embed, what="embedding")
    logger.info("embedded %s of %s documents", result["successful"], result["processed"])
    return result


def embed(document: Document) -> bool:
    """Whether there was something to write."""
    if Embedding.objects.filter(document=document, digest=document.digest).exists():
        return False
    vector = hashing.embed(f"{document.title}\n{document.text}")
    if not any(vector):
        raise ValueError("there is no word in it")
    # A new row, not the old one changed: findings in the cache go by the latest key.
    Embedding.objects.filter(document=document).delete()
    Embedding.objects.create(document=document, vector=vector.tobytes(), digest=document.digest)
    return True


@task(retry=TRANSIENT)
def sync_source(source_id: int) -> Result:
    """Take over what one source says."""
    source = Source.objects.get(pk=source_id)
    counts = syncing.sync(source, on_progress=progress_callback())
    logger.info("source %s: %s", source, counts)
    return {"success": True, **counts}


@task(unique=True)
def sync_all_sources() -> Result:
    """Start the sync of every source, but of those whose last one is not over."""
    started, skipped = [], []
    for source in Source.objects.all():
        job = source.enqueue(sync_source, source_id=source.pk)
        (started if job.created else skipped).append(source.name)
    logger.info("syncing %s; still active: %s", started, skipped)
    return {"success": True, "started": started, "skipped": skipped}


@task
def validate_source(source_id: int) -> Result:
    """Whether one source answers with what it should. That it does not is a result, no error of the task."""
    source = Source.objects.get(pk=source_id)
    trouble = ""
    try:
        check(source)
    except TROUBLE as error:
        trouble = str(error)
    return {"success": True, "source": source.name, "trouble": trouble}


@task(unique=True)
def validate_all_sources() -> Result:
    """The same for all of them; one that is dead stops no other."""
    results: dict[str, str] = {}

    def look(source: Source) -> None:
        try:
            results[source.name] = f"{check(source)} documents"
        except TROUBLE as error:
            results[source.name] = str(error)
            raise

    counts = do_each(list(Source.objects.order_by("pk")), look, what="validating")
    logger.info("validated: %s", results)
    return {**counts, "results": results}


TROUBLE = (fetching.BadFeed, ConnectionError, TimeoutError)


def check(source: Source) -> int:
    """Look at the first page of a source, and write down what was wrong; how many documents it has."""
    trouble = ""
    try:
        said = fetching.fetch(source.url)
        return int(said.get("total") or len(said["documents"]))
    except TROUBLE as error:
        trouble = str(error)
        raise
    finally:
        Source.objects.filter(pk=source.pk).update(checked_at=timezone.now(), check_error=trouble[:300])
