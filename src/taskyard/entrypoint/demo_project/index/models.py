"""What was found in which file."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class File(models.Model):
    """One file that was indexed."""

    path = models.CharField(max_length=500, unique=True)
    size_bytes = models.IntegerField()
    words = models.IntegerField()
    seconds = models.FloatField()

    objects: ClassVar[models.Manager[File]] = models.Manager()

    class Meta:
        app_label = "index"

    def __str__(self) -> str:
        return self.path


class WordCount(models.Model):
    """How often a word stands in a file; the most frequent ones only."""

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="counts")
    word = models.CharField(max_length=100, db_index=True)
    count = models.IntegerField()

    objects: ClassVar[models.Manager[WordCount]] = models.Manager()

    class Meta:
        app_label = "index"

    def __str__(self) -> str:
        return f"{self.word}: {self.count}"
