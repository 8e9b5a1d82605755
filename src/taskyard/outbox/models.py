"""What operators say about a queue."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import ClassVar

from django.db import models

from taskyard.settings import get_settings


class QueueSettingManager(models.Manager):  # type: ignore[type-arg]
    """``QueueSetting.objects``: always on the control database."""

    def get_queryset(self) -> models.QuerySet[QueueSetting]:
        return models.QuerySet(self.model, using=self._db or get_settings().database)

    def paused(self) -> models.QuerySet[QueueSetting]:
        """Settings of queues that are held back."""
        return self.get_queryset().filter(paused_at__isnull=False)

    def pause(self, names: Iterable[str], now: dt.datetime, *, by: str = "", reason: str = "") -> int:
        """Hold queues back; how many were not paused before. Feeders notice within two seconds.

        Jobs already handed to a worker run to their end; the others stay in the table until the queue is resumed.
        """
        wanted = list(dict.fromkeys(names))
        rows = [QueueSetting(name=name) for name in wanted]
        self.get_queryset().bulk_create(rows, ignore_conflicts=True)
        free = self.get_queryset().filter(name__in=wanted, paused_at=None)
        return free.update(paused_at=now, paused_by=by, reason=reason)

    def resume(self, names: Iterable[str]) -> int:
        """Feed queues again; how many were paused. Feeders notice within two seconds."""
        return self.paused().filter(name__in=list(names)).update(paused_at=None, paused_by="", reason="")


class QueueSetting(models.Model):
    """One queue an operator said something about; a queue without a row runs as declared."""

    #: Logical queue name.
    name = models.CharField(max_length=255, primary_key=True)
    #: Since when nothing of it is fed; NULL: it is fed. Freed by whoever resumes it; ``status`` and ``doctor`` say so.
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=150, default="")
    reason = models.CharField(max_length=500, default="")

    objects: ClassVar[QueueSettingManager] = QueueSettingManager()

    class Meta:
        app_label = "taskyard"

    def __str__(self) -> str:
        return self.name
