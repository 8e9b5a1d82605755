"""What operators say about a queue or a tenant, and what comes from other databases."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from django.db import models, transaction

from taskyard.errors import InvalidLimit
from taskyard.runtime.wakeup import WORK_WRITTEN, wake
from taskyard.settings import get_settings

#: In place of a value: leave it as it is.
KEEP: Final[Any] = object()
_SECOND = dt.timedelta(seconds=1)
#: What the column holds.
_MOST_RUNNING = 2**31 - 1


class SettingManager(models.Manager):  # type: ignore[type-arg]
    """``QueueSetting.objects`` and ``TenantSetting.objects``: always on the control database.

    Feeders notice a change within a second. Jobs that are running are left alone, and so are the few that stand in the
    broker already: about half a second of work.
    """

    def get_queryset(self) -> models.QuerySet[Any]:
        return models.QuerySet(self.model, using=self._db or get_settings().database)

    def paused(self) -> models.QuerySet[Any]:
        """Settings of those that are held back."""
        return self.get_queryset().filter(paused_at__isnull=False)

    def pause(self, names: Iterable[str], now: dt.datetime, *, by: str = "", reason: str = "") -> int:
        """Hold them back; how many were not paused before.

        Jobs already handed to a worker run to their end; the others stay in the table until they are resumed.
        """
        wanted = _listed(names)
        rows = [self.model(pk=name) for name in wanted]
        self.get_queryset().bulk_create(rows, ignore_conflicts=True)
        free = self.get_queryset().filter(pk__in=wanted, paused_at=None)
        return self._noticed(free.update(paused_at=now, paused_by=by, reason=reason))

    def resume(self, names: Iterable[str]) -> int:
        """Feed them again; how many were paused."""
        held = self.paused().filter(pk__in=_listed(names))
        return self._noticed(held.update(paused_at=None, paused_by="", reason=""))

    def _limit(self, name: str, *, per: dt.timedelta, **said: Any) -> Any:
        values = {column: value for column, value in said.items() if value is not KEEP}
        if "rate" in values:
            values["rate_seconds"] = _seconds_of(name, per)
        _refuse_odd_limits(name, values)
        row, _ = self.get_queryset().update_or_create(pk=name, defaults=values)
        self._noticed(1)
        return row

    def _noticed(self, changed: int) -> int:
        if changed:
            transaction.on_commit(lambda: wake(WORK_WRITTEN), using=get_settings().database)
        return changed


def _listed(names: Iterable[str]) -> list[str]:
    # One name is meant as such, and not as its letters.
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def _refuse_odd_limits(name: str, values: dict[str, Any]) -> None:
    weight, most, rate = values.get("weight", 1.0), values.get("max_running"), values.get("rate")
    if not (_is_number(weight) and weight > 0):
        raise InvalidLimit(name, "weight", weight, "a number above zero")
    if most is not None and not (type(most) is int and 0 <= most <= _MOST_RUNNING):
        raise InvalidLimit(name, "max_running", most, "a number of jobs, or None for any number")
    if rate is not None and not (_is_number(rate) and rate >= 0):
        raise InvalidLimit(name, "rate", rate, "a number of starts, or None for any number")


def _seconds_of(name: str, per: object) -> float:
    # As it was given: a caller need not heed the types.
    if not isinstance(per, dt.timedelta) or per <= dt.timedelta(0):
        raise InvalidLimit(name, "per", per, "a timedelta longer than zero")
    return per.total_seconds()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class QueueSettingManager(SettingManager):
    """``QueueSetting.objects``."""

    def limit(
        self, name: str, *, max_running: int | None = KEEP, rate: float | None = KEEP, per: dt.timedelta = _SECOND
    ) -> QueueSetting:
        """Allow a queue so many jobs at a time, and so many starts ``per`` that time; None: any number.

        What is not given stays as it is. Raises :class:`~taskyard.errors.InvalidLimit`.
        """
        row: QueueSetting = self._limit(name, max_running=max_running, rate=rate, per=per)
        return row


class QueueSetting(models.Model):
    """One queue an operator said something about; a queue without a row runs as declared."""

    #: Logical queue name.
    name = models.CharField(max_length=255, primary_key=True)
    #: Since when nothing of it is fed; NULL: it is fed. Freed by whoever resumes it; ``status`` and ``doctor`` say so.
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=150, default="")
    reason = models.CharField(max_length=500, default="")
    #: Most jobs running or in the broker's window at a time; NULL: any number.
    max_running = models.PositiveIntegerField(null=True)
    #: Most starts in ``rate_seconds``, and a fifth of a second's worth at once; NULL: any number.
    rate = models.FloatField(null=True)
    rate_seconds = models.FloatField(default=1.0)

    objects: ClassVar[QueueSettingManager] = QueueSettingManager()

    class Meta:
        app_label = "taskyard"
        verbose_name = "queue"
        permissions: ClassVar[list[Any]] = [
            ("view_queue", "Can view queues"),
            ("pause_queue", "Can pause and resume queues"),
            ("limit_queue", "Can limit queues"),
            ("clear_queue", "Can cancel everything that waits in a queue"),
        ]

    def __str__(self) -> str:
        return self.name


class TenantSettingManager(SettingManager):
    """``TenantSetting.objects``."""

    def limit(
        self, tenant: str, *, weight: float = KEEP, max_running: int | None = KEEP, rate: float | None = KEEP,
        per: dt.timedelta = _SECOND,
    ) -> TenantSetting:  # fmt: skip
        """Give a tenant its share: ``weight`` against the others, so many jobs at a time, so many starts ``per`` time.

        Over all queues together. What is not given stays as it is; None takes a limit away. A weight counts only while
        others wait: an idle share is anyone's. Raises :class:`~taskyard.errors.InvalidLimit`.
        """
        row: TenantSetting = self._limit(tenant, weight=weight, max_running=max_running, rate=rate, per=per)
        return row


class TenantSetting(models.Model):
    """One tenant an operator said something about; a tenant without a row has weight 1 and no limits."""

    #: As in the column of the same name of its jobs.
    tenant = models.CharField(max_length=63, primary_key=True)
    #: Its share of the run time where it and others wait, against theirs; above zero.
    weight = models.FloatField(default=1.0)
    #: Most jobs running or in the broker's window at a time, over all queues; NULL: any number.
    max_running = models.PositiveIntegerField(null=True)
    #: Most starts in ``rate_seconds``, and a fifth of a second's worth at once; NULL: any number.
    rate = models.FloatField(null=True)
    rate_seconds = models.FloatField(default=1.0)
    #: Since when nothing of it is fed; NULL: it is fed. Freed by whoever resumes it.
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=150, default="")
    reason = models.CharField(max_length=500, default="")

    objects: ClassVar[TenantSettingManager] = TenantSettingManager()

    class Meta:
        app_label = "taskyard"
        verbose_name = "tenant"
        permissions: ClassVar[list[Any]] = [
            ("view_tenant", "Can view tenants"),
            ("pause_tenant", "Can pause and resume tenants"),
            ("limit_tenant", "Can limit tenants and weigh them"),
        ]

    def __str__(self) -> str:
        return self.tenant


class OutboxMessage(models.Model):
    """A job that was enqueued in a transaction of another database than the one where jobs live, or another notice.

    Stands in that database, from the caller's commit until a relay has made it a job. One that no relay can read stays
    and is logged.
    """

    #: The job's, where it is of one.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    #: The whole new row of the job, see :mod:`taskyard.outbox.payload`.
    payload = models.TextField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "taskyard"

    def __str__(self) -> str:
        return str(self.id)


class RelayedMessage(models.Model):
    """Written with the job of a message, in one transaction: it never becomes another, whatever happens to that job.

    Stands in the control database and goes an hour after its message was deleted.
    """

    #: The job's and the message's.
    id = models.UUIDField(primary_key=True, editable=False)
    #: When its message was deleted; NULL: the message still stands, or its relay died before it could say so.
    left_at = models.DateTimeField(null=True, db_index=True)

    class Meta:
        app_label = "taskyard"

    def __str__(self) -> str:
        return str(self.id)


class OutboxNote(models.Model):
    """An outbox that is not well, as the relay saw it last: messages stand in it, or it cannot be looked into.

    Stands in the control database, for ``doctor`` and ``status``; gone when the outbox is empty again, or is no longer
    listed. A relay that has stopped leaves its notes as they were: :class:`RelayRound` says how old they are.
    """

    #: An alias, or ``:`` and a tenant's name.
    place = models.CharField(max_length=255, primary_key=True)
    #: Messages that stood there after the relay had looked into it last.
    waiting = models.IntegerField(default=0)
    #: Those of them that became no job; the relay's log says why.
    unreadable = models.IntegerField(default=0)
    #: When the oldest of them was written.
    oldest_at = models.DateTimeField(null=True)
    #: When it was looked into last; NULL: never since the note was made.
    seen_at = models.DateTimeField(null=True)
    #: Since when it cannot be looked into, why, and when that is tried again; NULL: it can.
    failing_since = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, default="")
    again_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "taskyard"

    def __str__(self) -> str:
        return self.place


class RelayRound(models.Model):
    """The last time that the relay had looked into every outbox: one row, written every ten seconds at most."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    outboxes = models.IntegerField()
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField()

    class Meta:
        app_label = "taskyard"

    def __str__(self) -> str:
        return f"{self.outboxes} outboxes"
