"""Where documents come from, what they say, and the vectors that stand for it."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, ClassVar

from django.db import models

from documents import hashing
from taskyard import TrackedModel


class Source(TrackedModel):
    """A feed of documents. Its own columns say how far its sync is; the last look at its address is beside them."""

    name = models.CharField(max_length=100, unique=True)
    url = models.URLField()
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    #: What was wrong at the last look; empty if nothing was.
    check_error = models.CharField(max_length=300, default="", blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class DocumentQuerySet(models.QuerySet["Document"]):
    def to_embed(self) -> DocumentQuerySet:
        """Without a vector, or with one of another text."""
        return self.exclude(embedding__digest=models.F("digest"))


class Document(models.Model):
    source = models.ForeignKey(Source, models.CASCADE, null=True, blank=True, related_name="documents")
    #: What its source calls it.
    key = models.CharField(max_length=200, blank=True, default="")
    title = models.CharField(max_length=200)
    text = models.TextField()
    #: Of title and text.
    digest = models.CharField(max_length=32, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DocumentQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["title", "pk"]
        constraints: ClassVar = [
            # Those without a source have no key either; equal nulls do not clash.
            models.UniqueConstraint(fields=["source", "key"], name="documents_key_of_source")
        ]

    def __str__(self) -> str:
        return self.title

    def save(self, **options: Any) -> None:
        self.digest = digest_of(self.title, self.text)
        super().save(**options)


class Embedding(models.Model):
    """The vector of a document, as the bytes of 32-bit floats."""

    document = models.OneToOneField(Document, models.CASCADE, related_name="embedding")
    vector = models.BinaryField()
    #: Of the text it was made of.
    digest = models.CharField(max_length=32)

    def __str__(self) -> str:
        return f"{hashing.DIMENSIONS} numbers of {self.document_id}"


def digest_of(title: str, text: str) -> str:
    return blake2b(f"{title}\0{text}".encode(), digest_size=16).hexdigest()
