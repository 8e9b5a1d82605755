"""Who the organisations are, in the control database."""

from django.db import models


class Organisation(models.Model):
    slug = models.SlugField(unique=True)
    #: Its database is there and has its tables: jobs may run for it.
    ready = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.slug
