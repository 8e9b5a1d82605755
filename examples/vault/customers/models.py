"""Whom an organisation keeps documents for, in its own database."""

from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=200)
    plan = models.CharField(max_length=50)
    #: Of the step that wrote it: written again after a crash, it is the same row.
    key = models.CharField(max_length=200, unique=True)
    active = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.name


class Started(models.Model):
    """Which saga a job of ``start_saga`` started: the job may run twice, this row is written once."""

    job = models.UUIDField(primary_key=True)
    saga = models.UUIDField()

    def __str__(self) -> str:
        return f"{self.job}: {self.saga}"
