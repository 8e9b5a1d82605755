"""A search engine that all organisations share, as small as can be: it knows nothing of tenants."""

from django.db import models


class Entry(models.Model):
    #: Which of its indices.
    index = models.CharField(max_length=200)
    word = models.CharField(max_length=100)
    #: What was found, under the name it has out there.
    external_id = models.CharField(max_length=200)

    class Meta:
        indexes = [models.Index(fields=["index", "word"])]

    def __str__(self) -> str:
        return f"{self.index}: {self.word}"
