"""Variant 3: a synchronous service, which knows nothing of jobs. A command or a view could call it as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from django.db import transaction

from documents.fetching import BadFeed, fetch
from documents.models import Document, Source, digest_of

Report = Callable[..., None]


def sync(source: Source, on_progress: Report | None = None) -> dict[str, int]:
    """Take over what a source says: new documents, and new texts of known ones. What it no longer names stays.

    ``on_progress(created=, updated=, skipped=, processed=, total=)`` is called after each document; what it raises
    ends the sync, and what was taken over by then is kept. Each document is a transaction of its own, so doing it
    again goes on where it stopped.
    """
    counts = Counter(created=0, updated=0, skipped=0)
    processed = total = 0
    for told, total in _documents(source):
        counts[_take_over(source, told)] += 1
        processed += 1
        if on_progress is not None:
            on_progress(processed=processed, total=total, **counts)
    return {**counts, "processed": processed, "total": total}


def _documents(source: Source) -> Iterator[tuple[dict[str, Any], int]]:
    page: int | None = 1
    while page:
        said = fetch(source.url, page)
        for told in said["documents"]:
            yield told, int(said.get("total") or len(said["documents"]))
        page = said.get("next")


def _take_over(source: Source, told: dict[str, Any]) -> str:
    try:
        key, title, text = (str(told[name]) for name in ("key", "title", "text"))
    except (KeyError, TypeError) as error:
        raise BadFeed(f"a document lacks {error}") from error
    with transaction.atomic():
        document = Document.objects.select_for_update().filter(source=source, key=key[:200]).first()
        if document is None:
            Document.objects.create(source=source, key=key[:200], title=title[:200], text=text)
            return "created"
        if document.digest == digest_of(title[:200], text):
            return "skipped"
        document.title, document.text = title[:200], text
        document.save()
        return "updated"
