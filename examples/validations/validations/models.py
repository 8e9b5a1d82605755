"""What customers submit, the runs that validate it, and what those leave behind."""

from __future__ import annotations

import datetime as dt
from typing import ClassVar

from django.db import models

#: A run says that it is alive every minute or so; one that was silent for this long hangs.
SILENCE = dt.timedelta(minutes=30)


class KeptFiles(models.QuerySet["KeptFile"]):
    def expired(self, now: dt.datetime) -> KeptFiles:
        """Whose file is to go, and was never tried: those that failed have a job of their own."""
        return self.filter(purged_at=None, expires_at__lte=now, failures=0)

    def to_retry(self, now: dt.datetime) -> KeptFiles:
        return self.filter(purged_at=None, retry_at__lte=now)


class KeptFile(models.Model):
    """A customer's file, which we promised to keep until a time and no longer. The row stays when the file goes."""

    file = models.FileField()
    expires_at = models.DateTimeField()
    purged_at = models.DateTimeField(null=True)
    #: Attempts at purging it that failed, in a row, and when the next is due.
    failures = models.PositiveSmallIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    error = models.TextField(default="")

    objects = KeptFiles.as_manager()

    class Meta:
        abstract = True
        indexes: ClassVar = [models.Index(fields=["purged_at", "expires_at"])]

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"


class Submission(KeptFile):
    customer = models.CharField(max_length=100)


class RunState(models.TextChoices):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Run(models.Model):
    """One validation of a submission, in a container of its own (:mod:`validations.containers`)."""

    submission = models.ForeignKey(Submission, models.CASCADE, related_name="runs")
    state = models.CharField(max_length=10, choices=RunState, default=RunState.RUNNING)
    #: When it was last heard of.
    heard_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=200, default="")

    class Meta:
        indexes: ClassVar = [models.Index(fields=["state", "heard_at"])]

    def __str__(self) -> str:
        return f"run {self.pk}"


class Output(KeptFile):
    run = models.ForeignKey(Run, models.CASCADE, related_name="outputs")


class IdempotencyKey(models.Model):
    """A request that was answered: the same key gets the same answer while this is here."""

    key = models.CharField(max_length=100, unique=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key


class Receipt(models.Model):
    """A callback of a container that was heeded; one that comes twice is heeded once."""

    callback = models.UUIDField(unique=True)
    received_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.callback)
