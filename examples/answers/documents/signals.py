"""Variant 1: saving a document enqueues its embedding."""

from typing import Any

from django.conf import settings
from django.db.models.signals import post_save
from django.dispatch import receiver

from documents.models import Document
from documents.tasks import embed_document


@receiver(post_save, sender=Document)
def embed_when_new(instance: Document, created: bool, raw: bool, **_: Any) -> None:
    """For new ones alone. The job is part of this transaction: it exists exactly if the document does."""
    if created and not raw and settings.EMBED_NEW_DOCUMENTS:
        embed_document.using(subject=instance).enqueue(document_id=instance.pk)
