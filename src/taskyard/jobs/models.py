"""The record of every job, and of every attempt that did not succeed."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Case, Q, Value, When

from taskyard.jobs.states import FINAL, LANE_DUE, LANE_LATER, LANE_OUT, UNFINISHED, State
from taskyard.runtime.fields import JsonTextField
from taskyard.settings import get_settings

_LANE = Case(
    When(state__in=[State.PENDING.value, State.RETRYING.value], due=True, then=Value(LANE_DUE)),
    When(state__in=[State.PENDING.value, State.RETRYING.value], then=Value(LANE_LATER)),
    When(state__in=[State.QUEUED.value, State.RUNNING.value], then=Value(LANE_OUT)),
    default=Value(None),
)


class JobQuerySet(models.QuerySet):  # type: ignore[type-arg]
    """Words for finding jobs."""

    def active(self) -> Self:
        """Jobs that are not final."""
        return self.filter(state__in=[s.value for s in UNFINISHED])

    def final(self) -> Self:
        """Jobs that are done with, one way or another."""
        # No index knows the state (docs/decisions/0002); the end has one.
        return self.filter(state__in=[s.value for s in FINAL], finished_at__isnull=False)

    def failed(self) -> Self:
        """Jobs no attempt is left for: the dead letters."""
        return self.filter(state=State.FAILED.value, finished_at__isnull=False)

    def due(self, now: dt.datetime) -> Self:
        """Jobs in the table whose time has come."""
        waiting = [State.PENDING.value, State.RETRYING.value]
        return self.filter(state__in=waiting, available_at__lte=now)

    def for_subject(self, instance: models.Model) -> Self:
        """Jobs about this row of the project's own."""
        return self.filter(subject_type=instance._meta.label_lower, subject_id=str(instance.pk))

    def for_tenant(self, tenant: str) -> Self:
        """Jobs of this tenant."""
        return self.filter(tenant=tenant)

    def visible_to(self, tenant: str | None) -> Self:
        """What whoever is looking may see: a tenant its own jobs, an operator (None) all of them."""
        return self.all() if tenant is None else self.for_tenant(tenant)

    def canvas(self, root: uuid.UUID) -> Self:
        """Every job of the canvas that started with ``root``."""
        return self.filter(Q(root=root) | Q(id=root))


class JobManager(models.Manager):  # type: ignore[type-arg]
    """``Job.objects``: always on the control database."""

    def get_queryset(self) -> JobQuerySet:
        return JobQuerySet(self.model, using=self._db or get_settings().database)

    def active(self) -> JobQuerySet:
        """Jobs that are not final."""
        return self.get_queryset().active()

    def failed(self) -> JobQuerySet:
        """Jobs no attempt is left for."""
        return self.get_queryset().failed()

    def for_subject(self, instance: models.Model) -> JobQuerySet:
        """Jobs about this row of the project's own."""
        return self.get_queryset().for_subject(instance)

    def for_tenant(self, tenant: str) -> JobQuerySet:
        """Jobs of this tenant."""
        return self.get_queryset().for_tenant(tenant)

    def visible_to(self, tenant: str | None) -> JobQuerySet:
        """What whoever is looking may see: a tenant its own jobs, an operator (None) all of them."""
        return self.get_queryset().visible_to(tenant)


class Job(models.Model):
    """One enqueued task. Written only by ``enqueue``, the feeder, claim, settle, the rescuer and the pruner."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    #: The caller's own id where it is not a UUID (Celery allows ``task_id="report-17"``), else empty.
    task_id = models.CharField(max_length=255, default="")
    task = models.CharField(max_length=255)
    args = JsonTextField(default=list)
    kwargs = JsonTextField(default=dict)
    #: Celery's part of the message (headers, callbacks, chain, chord, routing); NULL for a plain ``enqueue()``.
    message = JsonTextField(null=True)
    tenant = models.CharField(max_length=63, default="")
    #: Logical queue name.
    queue = models.CharField(max_length=255)
    #: -100 to 100, higher is sooner.
    priority = models.SmallIntegerField(default=0)

    state = models.CharField(max_length=10, default=State.PENDING.value, choices=[(s.value, s.value) for s in State])
    #: False while ``available_at`` lies ahead; the feeder turns it when the time has come.
    due = models.BooleanField(default=True)
    #: Where the row stands in line: 0 later, 1 due, 2 out (queued or running), else NULL. The database computes it.
    lane = models.GeneratedField(expression=_LANE, output_field=models.SmallIntegerField(null=True), db_persist=True)
    #: Number of the attempt that runs or ran last; 0 before the first.
    attempt = models.IntegerField(default=0)
    #: Attempts allowed. Grows by one when an attempt ends that is not to count.
    max_attempts = models.IntegerField(default=1)
    #: Random token of the running attempt: part of every compare-and-set a worker makes.
    claim = models.BigIntegerField(null=True)
    #: Children lost in a row while running this job; at ``POISON_AFTER`` it is quarantined.
    crashes = models.SmallIntegerField(default=0)
    #: How often its message was published since it was last fed.
    publishes = models.SmallIntegerField(default=0)

    created_at = models.DateTimeField()
    #: Not to be fed before this time.
    available_at = models.DateTimeField()
    #: A job not started by this time is cancelled (``expired``).
    expires_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    #: The worker that runs it or ran it last; while queued on the database broker, the worker that has it in hand.
    worker = models.UUIDField(null=True)
    #: Seconds; from the declaration or the call.
    soft_time_limit = models.FloatField(null=True)
    time_limit = models.FloatField(null=True)

    #: JSON of what the body returned; NULL once expired or ignored.
    result = JsonTextField(null=True)
    #: Why it is failed or cancelled, or how the last attempt ended: ``{"type", "message", "reason"}``.
    error = JsonTextField(null=True)
    #: State name a task gave itself through Celery's ``update_state``.
    custom_state = models.CharField(max_length=50, default="")

    unique_key = models.TextField(null=True)
    #: Digest of (tenant, task, key) while the key is held; a unique index makes a second holder impossible.
    unique_lock = models.CharField(max_length=64, null=True)
    #: Label and primary key of a row of the project's own.
    subject_type = models.CharField(max_length=100, default="")
    subject_id = models.CharField(max_length=100, default="")
    created_by = models.CharField(max_length=150, default="")
    #: The job whose attempt enqueued this one, and the first of the whole family.
    parent = models.UUIDField(null=True)
    root = models.UUIDField(null=True)
    #: The schedule occurrence it belongs to.
    occurrence = models.BigIntegerField(null=True)
    #: The batch it is a member of.
    batch = models.UUIDField(null=True)

    progress_current = models.FloatField(null=True)
    progress_total = models.FloatField(null=True)
    progress_message = models.CharField(max_length=500, default="")
    progress_at = models.DateTimeField(null=True)
    #: ``{"succeeded": n, "failed": n, "errors": [{"item", "error"}]}`` of the items of a batch task.
    counts = JsonTextField(null=True)
    #: What the task saved for its next attempt.
    checkpoint = JsonTextField(null=True)
    tags = JsonTextField(null=True)
    #: W3C ``traceparent`` of the caller.
    trace = models.CharField(max_length=64, default="")

    objects: ClassVar[JobManager] = JobManager()

    #: False if ``enqueue()`` found an unfinished job with the same unique key and returned that one.
    created: bool = True

    class Meta:
        app_label = "taskyard"
        permissions: ClassVar[list[Any]] = [
            ("view_payload", "Can see arguments, results and the words of errors"),
            ("enqueue_job", "Can enqueue jobs, also as copies of others"),
            ("retry_job", "Can retry jobs"),
            ("cancel_job", "Can cancel jobs"),
            ("discard_job", "Can discard failed jobs"),
            ("edit_job", "Can change the arguments of jobs that ended, and retry them"),
            ("prune_job", "Can delete jobs that ended"),
        ]

    def __str__(self) -> str:
        return f"{self.task}[{self.id}]"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in FINAL

    @property
    def celery_id(self) -> str:
        """The id Celery knows the job by."""
        return self.task_id or str(self.id)


class Attempt(models.Model):
    """One try that did not succeed; a success needs no row, it is on the job."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    number = models.IntegerField()
    #: Exception class, or ``WorkerLost``, ``TimeLimitExceeded``, ``Released`` and the like.
    error_type = models.CharField(max_length=255)
    error_message = models.TextField(default="")
    traceback = models.TextField(default="")
    worker = models.UUIDField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField()

    class Meta:
        app_label = "taskyard"
        ordering: ClassVar[list[Any]] = ["job", "number"]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.job_id}"


class Canvas(models.Model):
    """A chord or saved group: how many of its members have ended, and what comes after."""

    id = models.CharField(max_length=255, primary_key=True)
    #: Whose it is; a saved group is shown to nobody else.
    tenant = models.CharField(max_length=63, default="")
    #: How many members a chord waits for; NULL for a saved group.
    size = models.IntegerField(null=True)
    done = models.IntegerField(default=0)
    #: The chord's body as a Celery signature, or the saved group's result tree.
    body = JsonTextField(null=True)
    #: Ids of the members in the order of their results.
    members = JsonTextField(default=list)
    created_at = models.DateTimeField()
    #: When the body was enqueued or failed; it happens once.
    closed_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "taskyard"
        indexes: ClassVar[list[Any]] = [models.Index(fields=["created_at"], name="taskyard_canvas_created")]

    def __str__(self) -> str:
        return self.id


class CanvasPart(models.Model):
    """One member of a chord that has ended; unique, so that no member counts twice."""

    canvas = models.ForeignKey(Canvas, on_delete=models.CASCADE, related_name="parts")
    member = models.CharField(max_length=255)
    state = models.CharField(max_length=20)

    class Meta:
        app_label = "taskyard"
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["canvas", "member"], name="taskyard_canvaspart_once")
        ]

    def __str__(self) -> str:
        return f"{self.member} of {self.canvas_id}"
