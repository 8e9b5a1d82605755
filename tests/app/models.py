"""A row of "the user's own", for jobs to be about and for side effects to leave a trace in."""

from django.db import models

from taskyard import TrackedModel


class Note(models.Model):
    text = models.TextField()

    def __str__(self) -> str:
        return self.text


class Import(TrackedModel):
    """A row that says itself how far its work is."""

    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name
