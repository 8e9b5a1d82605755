"""Definitions of what runs by the clock, and one row for each decision about a due time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.db import models
from django.db.models.functions import Substr

from taskyard.runtime.fields import JsonTextField
from taskyard.schedules.decisions import CatchUp, Decision, Overlap
from taskyard.schedules.recurrence import Recurrence
from taskyard.settings import get_settings

#: How the origin of rows begins that a clock elsewhere calls for; see ``trigger.py``.
TRIGGERED = "trigger"
if TYPE_CHECKING:
    from taskyard.schedules.definitions.users import TenantSchedules


#: The origin of schedules that the users of a tenant made: :data:`TASKYARD["USER_SCHEDULES"]` limits them.
USER = "user"


class ScheduleQuerySet(models.QuerySet):  # type: ignore[type-arg]
    """Words for finding schedules."""

    def visible_to(self, tenant: str | None) -> Self:
        """What whoever is looking may see: a tenant its own schedules, an operator (None) all of them."""
        return self.all() if tenant is None else self.filter(tenant=tenant)

    def starting_with(self, prefix: str) -> Self:
        """Those whose name begins so, in upper and lower case as it is written (but on MariaDB and MySQL)."""
        # SQLite's LIKE does not tell upper from lower case.
        start = Substr("name", 1, len(prefix))
        return self.alias(start=start).filter(name__startswith=prefix, start=prefix) if prefix else self.all()

    def for_subject(self, instance: models.Model) -> Self:
        """Those about this row of the project's own. With tenants' own databases, ask for one tenant's."""
        return self.filter(subject_type=instance._meta.label_lower, subject_id=str(instance.pk))


class ScheduleManager(models.Manager):  # type: ignore[type-arg]
    """``Schedule.objects``: always on the control database."""

    def get_queryset(self) -> ScheduleQuerySet:
        return ScheduleQuerySet(self.model, using=self._db or get_settings().database)

    def visible_to(self, tenant: str | None) -> ScheduleQuerySet:
        """What whoever is looking may see: a tenant its own schedules, an operator (None) all of them."""
        return self.get_queryset().visible_to(tenant)

    def starting_with(self, prefix: str) -> ScheduleQuerySet:
        """Those whose name begins so."""
        return self.get_queryset().starting_with(prefix)

    def for_subject(self, instance: models.Model) -> ScheduleQuerySet:
        """Those about this row of the project's own."""
        return self.get_queryset().for_subject(instance)

    def for_tenant(self, tenant: Any) -> TenantSchedules:
        """What the users of a tenant may see and do, within ``TASKYARD["USER_SCHEDULES"]``."""
        from taskyard.schedules.definitions.users import TenantSchedules

        return TenantSchedules(tenant)

    def remove(self, name: str, *, tenant: Any = None) -> None:
        """Delete the schedule of that name with its decisions, in the caller's transaction; its jobs stay.

        ``tenant``: the current one by default. Raises :class:`~taskyard.errors.UnknownSchedule`.
        """
        from taskyard.schedules.definitions.define import remove

        remove(name, tenant=tenant)

    def define(self, *, name: str, recurrence: Recurrence, task: Any, **said: Any) -> Schedule:
        """Create or change the schedule of that name (and ``tenant``, default: the current one), in the caller's
        transaction; the row.

        It replaces the whole definition: what is not given takes its default. ``task`` is what ``@task`` returned, or
        the name of a task. Nothing that was due before is run now: the first due time is the next one from here on. A
        definition that changes nothing leaves the row, its version and its next due time as they are.

        With tenants' own databases the transaction is that of the current tenant (or of ``database=``): the definition
        goes through its outbox and is gone if it rolls back. Within one, what is returned is not a row yet: it has no
        primary key, and ``version`` 0.

        ``said``: ``tenant, args, kwargs, queue, priority, options, tenants, spread, bounds, overlap, catch_up,
        catch_up_count, catch_up_window, pause_after_failures, subject, description, enabled, origin, by, database``;
        see :class:`~taskyard.schedules.definitions.definition.Definition` for what each means. Raises
        :class:`~taskyard.errors.InvalidSchedule` naming everything that is wrong.
        """
        from taskyard.schedules.definitions.define import define

        return define(name=name, recurrence=recurrence, task=task, **said)


class Schedule(models.Model):
    """One thing that runs by the clock. Changed by :meth:`ScheduleManager.define` and the verbs below."""

    #: Unique for each tenant.
    name = models.CharField(max_length=200)
    #: Whose it is: its jobs are this tenant's. Empty: the project's own.
    tenant = models.CharField(max_length=63, default="")
    #: Where its truth is: ``code``, ``api``, ``admin``, ``user`` (its tenant's own users), or a file; ``trigger``: the
    #: code, and another clock runs it.
    origin = models.CharField(max_length=200, default="api")
    description = models.TextField(default="")

    task = models.CharField(max_length=255)
    args = JsonTextField(default=list)
    kwargs = JsonTextField(default=dict)
    #: Logical queue name; empty: as the task says.
    queue = models.CharField(max_length=255, default="")
    priority = models.SmallIntegerField(null=True)
    #: What ``apply_async`` is given besides: :data:`~taskyard.schedules.definitions.definition.OPTIONS`.
    options = JsonTextField(default=dict)
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
    #: Its place among those that users of its tenant made, from 1 up to the most they may have; NULL: it takes none.
    slot = models.PositiveIntegerField(null=True)

    enabled = models.BooleanField(default=True)
    #: While it is paused its due times are recorded as suppressed; NULL with a reason: until it is resumed.
    paused_at = models.DateTimeField(null=True)
    paused_until = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=150, default="")
    pause_reason = models.CharField(max_length=500, default="")

    #: Counts up with each change of the definition.
    version = models.PositiveIntegerField(default=1)
    #: The next due time as it will be decided, jitter included; NULL: there is none, or it is disabled or parked.
    next_at = models.DateTimeField(null=True)
    #: Who decides about it: empty: any scheduler; a name: those that were started for it, and no other.
    keeper = models.CharField(max_length=32, default="")
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
        permissions: ClassVar = [
            ("run_schedule", "Can run schedules now"),
            ("pause_schedule", "Can pause and resume schedules"),
            ("backfill_schedule", "Can run due times of the past"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], name="taskyard_schedule_name"),
            models.UniqueConstraint(fields=["tenant", "slot"], name="taskyard_schedule_slot"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["keeper", "next_at"], name="taskyard_schedule_next"),
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
        return self.origin.partition(":")[0] == TRIGGERED

    def next(self, count: int = 10, *, after: dt.datetime | None = None) -> list[Any]:
        """The next due times as the scheduler will decide them, without those that are excluded; at most 1,000."""
        from taskyard.schedules.definitions.define import preview

        return preview(self, count, after=after)

    preview = next

    def pause(self, *, until: dt.datetime | None = None, reason: str = "", by: Any = "") -> None:
        """Run nothing from now on, until a time or until it is resumed; its due times are recorded as suppressed."""
        from taskyard.schedules.definitions.define import pause

        pause(self, until=until, reason=reason, by=by)

    def resume(self, *, by: Any = "") -> None:
        """Run again from the next due time on, also after it was parked."""
        from taskyard.schedules.definitions.define import resume

        resume(self, by=by)

    def enable(self) -> None:
        """Decide due times again, from the next one on."""
        from taskyard.schedules.definitions.define import set_enabled

        set_enabled(self, True)

    def disable(self) -> None:
        """Decide nothing: due times leave no trace until it is enabled again."""
        from taskyard.schedules.definitions.define import set_enabled

        set_enabled(self, False)

    def backfill(self, *, since: dt.datetime, until: dt.datetime | None = None, by: Any = "", **said: Any) -> Backfill:
        """Run its due times from ``since`` to ``until`` (default: now; both included) that did not run, in the past.

        ``said``: ``tenant``, the one of several tenants it is for; ``queue`` (default: ``backfill``); ``per_minute``,
        most due times in a minute (default: 60); ``forgotten``, also those so long ago that nobody knows whether they
        ran. See docs/schedules.md for what is run. Raises :class:`~taskyard.errors.InvalidSchedule` and
        :class:`~taskyard.errors.UnknownQueue`.
        """
        from taskyard.schedules.backfill import Wish, start

        return start(self, Wish(since=since, until=until, **said), by=by)

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
    #: The schedule's own tenant, if it has one. Of a schedule for several tenants the due time itself has the empty
    #: name, and each tenant that gets no job of it has one more row.
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


class BackfillManager(models.Manager):  # type: ignore[type-arg]
    """``Backfill.objects``: always on the control database."""

    def get_queryset(self) -> models.QuerySet[Backfill]:
        return models.QuerySet(self.model, using=self._db or get_settings().database)

    def running(self) -> models.QuerySet[Backfill]:
        """Those that go on."""
        return self.get_queryset().filter(next_at__isnull=False)


class Backfill(models.Model):
    """Due times of the past that are run after all, a few at a time; fed by the schedulers until it is done."""

    id = models.BigAutoField(primary_key=True)
    schedule = models.ForeignKey(Schedule, models.CASCADE, related_name="backfills")
    #: The one of several tenants that it is for; empty: for whomever the schedule is.
    tenant = models.CharField(max_length=63, default="")
    #: Logical queue name of its jobs.
    queue = models.CharField(max_length=255)
    #: Most due times in a minute.
    per_minute = models.FloatField()
    #: The first and the last instant; both belong to it.
    since = models.DateTimeField()
    until = models.DateTimeField()
    #: Due times up to this one are seen to.
    done_until = models.DateTimeField()
    #: When it goes on; NULL: it has ended.
    next_at = models.DateTimeField(null=True, db_index=True)
    #: ``running``; ``done``, when it has come to its end; ``cancelled``, by whoever cancelled it.
    state = models.CharField(max_length=10, default="running")
    #: Due times it ran and those it left alone (run before, or ruled out by a calendar), and the jobs it wrote.
    fired = models.PositiveIntegerField(default=0)
    left_alone = models.PositiveIntegerField(default=0)
    jobs = models.PositiveIntegerField(default=0)
    #: The occurrence whose jobs must end before it goes on, where the overlap policy wants them one after the other.
    waits_for = models.BigIntegerField(null=True)
    #: Why it does not get on; tried again every half a minute. Empty: it does.
    error = models.CharField(max_length=500, default="")
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150, default="")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=150, default="")

    objects: ClassVar[BackfillManager] = BackfillManager()

    class Meta:
        app_label = "taskyard"

    def __str__(self) -> str:
        return f"back-fill {self.pk} of schedule {self.schedule_id}"

    @property
    def progress(self) -> float:
        """How far through its time it is, from 0 to 1."""
        if self.state == "done" or self.until <= self.since:
            return 1.0
        return min(1.0, max(0.0, (self.done_until - self.since) / (self.until - self.since)))

    def cancel(self, *, by: Any = "") -> bool:
        """Feed no more of it; whether it was running. Jobs that were written already go on."""
        from taskyard.schedules.backfill import cancel

        return cancel(self, by=by)


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
