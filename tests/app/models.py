"""A row of "the user's own", for jobs to be about and for side effects to leave a trace in."""

from django.db import models


class Note(models.Model):
    text = models.TextField()

    def __str__(self) -> str:
        return self.text
