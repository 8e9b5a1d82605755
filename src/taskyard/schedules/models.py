"""Definitions of what runs by the clock, and one row for each decision about a due time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, ClassVar

from django.db import models

from taskyard.runtime.fields import JsonTextField
from taskyard.schedules.decisions import CatchUp, Decision, Overlap
from taskyard.schedules.recurrence import Recurrence
from taskyard.settings import get_settings

#: The origin of rows that a clock elsewhere calls for; see ``trigger.py``.
TRIGGERED = "trigger"


class ScheduleManager(models.Manager):  # type: ignore[type-arg]
    """``Schedule.objects``: always on the control database."""

    def get_queryset(self) -> models.QuerySet[Schedule]:
        return models.QuerySet(self.model, using=self._db or get_settings().database)

    def visible_to(self, tenant: str | None) -> models.QuerySet[Schedule]:
        """What whoever is looking may see: a tenant its own schedules, an operator (None) all of them."""
        return self.all() if tenant is None else self.get_queryset().filter(tenant=tenant)

    def define(self, *, name: str, recurrence: Recurrence, task: Any, **said: Any) -> Schedule:
        """Create or change the schedule of that name (and ``tenant``, default: the current one), in the caller's
        transaction; the row.

        It replaces the whole definition: what is not given takes its default. ``task`` is what ``@task`` returned, or
        the name of a task. Nothing that was due before is run now: the first due time is the next one from here on. A
        definition that changes nothing leaves the row, its version and its next due time as they are.

        ``said``: ``tenant, args, kwargs, queue, priority, tenants, spread, bounds, overlap, catch_up, catch_up_count,
        catch_up_window, pause_after_failures, subject, description, enabled, origin, by``; see
        :class:`~taskyard.schedules.definition.Definition` for what each means. Raises
        :class:`~taskyard.errors.InvalidSchedule` naming everything that is wrong.
        """
        from taskyard.schedules.define import define

        return define(name=name, recurrence=recurrence, task=task, **said)


class Schedule(models.Model):
    """One thing that runs by the clock. Changed by :meth:`ScheduleManager.define` and the verbs below."""

    #: Unique for each tenant.
    name = models.CharField(max_length=200)
    #: Whose it is: its jobs are this tenant's. Empty: the project's own.
    tenant = models.CharField(max_length=63, default="")
    #: Where its truth is: ``code``, ``api``, ``admin``, or a file; ``trigger``: the code, and another clock runs it.
    origin = models.CharField(max_length=200, default="api")
    description = models.TextField(default="")

    task = models.CharField(max_length=255)
    args = JsonTextField(default=list)
    kwargs = JsonTextField(default=dict)
    #: Logical queue name; empty: as the task says.
    queue = models.CharField(max_length=255, default="")
    priority = models.SmallIntegerField(null=True)
    #: Run once for each of these: ``"each"`` (that is ready), a list of names, or NULL for one run.
    tenants = JsonTextField(null=True)
    #: Seconds over which the runs of a due time are spread, if it has one for each of several tenants.
    spread = models.FloatField(default=0.0)

    #: JSON of the recurrence.
    recurrence = JsonTextField()
    #: JSON of start, end, most runs, calendars and jitter.
    bounds = JsonTextField(default=dict)
    overlap = models.CharField(max_length=16, default=Overlap.SKIP.value)
    catch_up = models.CharField(max_length=8, default=CatchUp.ONE.value)
    catch_up_count = models.PositiveSmallIntegerField(default=1)
    #: Seconds; NULL: however late.
    catch_up_window = models.FloatField(null=True)
    #: Paused by itself after so many failed jobs in a row; NULL: never.
    pause_after_failures = models.PositiveSmallIntegerField(null=True)
    subject_type = models.CharField(max_length=100, default="")
    subject_id = models.CharField(max_length=100, default="")
    created_by = models.CharField(max_length=150, default="")

    enabled = models.BooleanField(default=True)
    #: While it is paused its due times are recorded as suppressed; NULL with a reason: until it is resumed.
    paused_at = models.DateTimeField(null=True)
    paused_until = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=150, default="")
    pause_reason = models.CharField(max_length=500, default="")

    #: Counts up with each change of the definition.
    version = models.PositiveIntegerField(default=1)
    #: The next due time as it will be decided, jitter included; NULL: there is none, or it is disabled or parked.
    next_at = models.DateTimeField(null=True, db_index=True)
    #: Due times up to this one are decided.
    decided_until = models.DateTimeField()
    #: How often it has fired, and when last.
    runs = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(null=True)
    #: Why it is parked: the scheduler could make nothing of it. A new definition frees it.
    error = models.TextField(default="")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    objects: ClassVar[ScheduleManager] = ScheduleManager()

    class Meta:
        app_label = "taskyard"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], name="taskyard_schedule_name"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["subject_type", "subject_id"], name="taskyard_schedule_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant}:{self.name}" if self.tenant else self.name

    def is_paused(self, now: dt.datetime) -> bool:
        """Whether what is due at that time is suppressed."""
        if self.paused_at is None or now < self.paused_at:
            return False
        return self.paused_until is None or now < self.paused_until

    @property
    def is_triggered(self) -> bool:
        """Whether a clock elsewhere calls for it, and no scheduler looks at it."""
        return self.origin == TRIGGERED

    def next(self, count: int = 10, *, after: dt.datetime | None = None) -> list[Any]:
        """The next due times as the scheduler will decide them; see :func:`taskyard.schedules.define.preview`."""
        from taskyard.schedules.define import preview

        return preview(self, count, after=after)

    preview = next

    def pause(self, *, until: dt.datetime | None = None, reason: str = "", by: Any = "") -> None:
        """Run nothing from now on, until a time or until it is resumed; its due times are recorded as suppressed."""
        from taskyard.schedules.define import pause

        pause(self, until=until, reason=reason, by=by)

    def resume(self, *, by: Any = "") -> None:
        """Run again from the next due time on, also after it was parked."""
        from taskyard.schedules.define import resume

        resume(self, by=by)

    def enable(self) -> None:
        """Decide due times again, from the next one on."""
        from taskyard.schedules.define import set_enabled

        set_enabled(self, True)

    def disable(self) -> None:
        """Decide nothing: due times leave no trace until it is enabled again."""
        from taskyard.schedules.define import set_enabled

        set_enabled(self, False)

    def run_now(self, *, by: Any = "") -> Occurrence:
        """Run once, now, whatever the clock says; the overlap policy holds. The decision, with its job."""
        from taskyard.schedules.scheduler import run_now

        return run_now(self, by=by)


class OccurrenceManager(models.Manager):  # type: ignore[type-arg]
    """``Occurrence.objects``: always on the control database."""

    def get_queryset(self) -> models.QuerySet[Occurrence]:
        return models.QuerySet(self.model, using=self._db or get_settings().database)

    def buffered(self) -> models.QuerySet[Occurrence]:
        """Those that wait for an earlier job to end."""
        return self.get_queryset().filter(lock__isnull=False)

    def decided(self, schedule_ids: Iterable[int], due: Iterable[dt.datetime]) -> set[tuple[int, str, dt.datetime]]:
        """Which of these are decided already."""
        found = self.get_queryset().filter(schedule_id__in=list(schedule_ids), due_at__in=list(due))
        return set(found.values_list("schedule_id", "tenant", "due_at"))


class Occurrence(models.Model):
    """What was decided about one due time of a schedule, and why."""

    id = models.BigAutoField(primary_key=True)
    schedule = models.ForeignKey(Schedule, models.CASCADE, related_name="occurrences")
    #: The schedule's tenant; where it runs for each of several, that of a due time that does not run for it.
    tenant = models.CharField(max_length=63, default="")
    #: The instant it was due, before jitter.
    due_at = models.DateTimeField()
    #: With jitter, and after a change of the clocks was seen to.
    effective_at = models.DateTimeField()
    #: ``gap`` or ``fold`` where a change of the clocks had a hand in it.
    mark = models.CharField(max_length=4, default="")
    decided_at = models.DateTimeField()
    decision = models.CharField(max_length=10, choices=[(d.value, d.value) for d in Decision])
    reason = models.CharField(max_length=500, default="")
    job = models.UUIDField(null=True)
    #: Jobs written, where it runs for each of several tenants.
    jobs = models.PositiveIntegerField(default=0)
    #: The version of the definition that was decided by.
    version = models.PositiveIntegerField(default=1)
    #: Who asked, where a person did.
    actor = models.CharField(max_length=150, default="")
    #: The lock of the job it waits for; NULL: it waits for none.
    lock = models.CharField(max_length=64, null=True, db_index=True)

    objects: ClassVar[OccurrenceManager] = OccurrenceManager()

    class Meta:
        app_label = "taskyard"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["schedule", "due_at", "tenant"], name="taskyard_occurrence_due"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["decided_at"], name="taskyard_occurrence_decided"),
        ]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.due_at.isoformat()} {self.decision}"


class ScheduleVersion(models.Model):
    """A definition as it was from a time on, for back-fills and for whoever asks what changed."""

    id = models.BigAutoField(primary_key=True)
    schedule = models.ForeignKey(Schedule, models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    since = models.DateTimeField()
    actor = models.CharField(max_length=150, default="")
    definition = JsonTextField()

    objects: ClassVar[models.Manager[ScheduleVersion]] = models.Manager()

    class Meta:
        app_label = "taskyard"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["schedule", "version"], name="taskyard_scheduleversion_number"),
        ]

    def __str__(self) -> str:
        return f"{self.schedule_id} v{self.version}"
