"""The rows of a saga: itself, its steps, its history, its signals, and what its definition said."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, ClassVar, Self

from django.db import models

from taskyard.runtime.fields import JsonTextField
from taskyard.sagas.states import FINAL, SagaState, StepState
from taskyard.settings import get_settings


class SagaQuerySet(models.QuerySet):  # type: ignore[type-arg]
    """Words for finding sagas."""

    def active(self) -> Self:
        """Those that have not ended; what needs attention among them."""
        return self.filter(finished_at=None)

    def due(self, now: dt.datetime) -> Self:
        """Those that somebody has to look at."""
        return self.filter(due_at__lte=now)

    def for_subject(self, instance: models.Model) -> Self:
        """Those about this row of the project's own."""
        return self.filter(subject_type=instance._meta.label_lower, subject_id=str(instance.pk))

    def visible_to(self, tenant: str | None) -> Self:
        """What whoever is looking may see: a tenant its own, an operator (None) all of them."""
        return self.all() if tenant is None else self.filter(tenant=tenant)


class SagaManager(models.Manager):  # type: ignore[type-arg]
    """``Saga.objects``: always on the control database."""

    def get_queryset(self) -> SagaQuerySet:
        return SagaQuerySet(self.model, using=self._db or get_settings().database)

    def active(self) -> SagaQuerySet:
        """Those that have not ended."""
        return self.get_queryset().active()

    def due(self, now: dt.datetime) -> SagaQuerySet:
        """Those that somebody has to look at."""
        return self.get_queryset().due(now)

    def for_subject(self, instance: models.Model) -> SagaQuerySet:
        """Those about this row of the project's own."""
        return self.get_queryset().for_subject(instance)

    def visible_to(self, tenant: str | None) -> SagaQuerySet:
        """What whoever is looking may see: a tenant its own, an operator (None) all of them."""
        return self.get_queryset().visible_to(tenant)


class Saga(models.Model):
    """One run of an orchestrator. Written by :mod:`taskyard.sagas.writing.store` alone, a revision at a time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    version = models.IntegerField()
    #: Digest of the plan it began with, and ends with.
    plan = models.CharField(max_length=32)
    tenant = models.CharField(max_length=63, default="")
    state = models.CharField(
        max_length=16, default=SagaState.RUNNING.value, choices=[(s.value, s.value) for s in SagaState]
    )
    #: Moves by one with each transition: who read an older one decides anew.
    revision = models.BigIntegerField(default=0)
    #: The job that coordinates it or is about to; of a run inline, an id that is no job's.
    runner = models.UUIDField(null=True)
    #: Of the attempt that has it in hand.
    token = models.CharField(max_length=32, default="")
    is_inline = models.BooleanField(default=False)
    is_undoing = models.BooleanField(default=False)
    #: What somebody asked for and has not begun.
    wish = models.CharField(max_length=16, default="")
    #: ``{"type", "message", "step"}``: why it turned round; and why it needs attention.
    error = JsonTextField(null=True)
    stuck = JsonTextField(null=True)

    #: Of the coordinator's jobs, and of steps that name no other.
    queue = models.CharField(max_length=255)
    inputs = JsonTextField(default=dict)
    #: Of its last step.
    result = JsonTextField(null=True)

    created_at = models.DateTimeField()
    #: Of its last transition.
    updated_at = models.DateTimeField()
    #: When somebody has to look at it; NULL while nothing but a person changes it.
    due_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    subject_type = models.CharField(max_length=100, default="")
    subject_id = models.CharField(max_length=100, default="")
    #: As it is shown; and the key of the user it acts for, if any.
    created_by = models.CharField(max_length=150, default="")
    user = models.CharField(max_length=150, default="")
    #: The saga that it is a step of.
    parent = models.UUIDField(null=True)
    parent_step = models.CharField(max_length=100, default="")
    #: The saga whose steps it began with.
    forked_from = models.UUIDField(null=True)

    objects: ClassVar[SagaManager] = SagaManager()

    class Meta:
        app_label = "taskyard"
        permissions: ClassVar[list[Any]] = [
            ("retry_saga", "Can retry and resume sagas"),
            ("skip_saga", "Can skip steps of sagas"),
            ("compensate_saga", "Can compensate sagas"),
            ("cancel_saga", "Can cancel sagas"),
            ("signal_saga", "Can signal sagas"),
            ("fork_saga", "Can fork sagas"),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["due_at"], name="taskyard_saga_due"),
            models.Index(fields=["created_at", "id"], name="taskyard_saga_created"),
            models.Index(fields=["tenant", "created_at", "id"], name="taskyard_saga_tenant"),
            models.Index(fields=["finished_at", "name"], name="taskyard_saga_finished"),
            models.Index(fields=["state", "created_at", "id"], name="taskyard_saga_state"),
            models.Index(fields=["subject_type", "subject_id"], name="taskyard_saga_subject"),
            models.Index(fields=["parent"], name="taskyard_saga_parent"),
        ]

    def __str__(self) -> str:
        return f"{self.name}[{self.id}]"

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL


class SagaStep(models.Model):
    """How far a step of a saga is; it has no row before it is begun or skipped."""

    #: No foreign key: a step's end must not lock the row of its saga once more.
    saga = models.UUIDField()
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=24, choices=[(s.value, s.value) for s in StepState])
    attempt = models.IntegerField(default=0)
    compensation_attempt = models.IntegerField(default=0)
    failures = models.IntegerField(default=0)
    losses = models.IntegerField(default=0)
    round = models.IntegerField(default=1)
    is_taken_over = models.BooleanField(default=False)
    token = models.CharField(max_length=32, default="")
    job = models.UUIDField(null=True)
    child = models.UUIDField(null=True)
    due_at = models.DateTimeField(null=True)
    result = JsonTextField(null=True)
    error = JsonTextField(null=True)
    #: It was compensated, or is being, because it had failed.
    has_failed = models.BooleanField(default=False)
    reason = models.CharField(max_length=500, default="")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    compensation_started_at = models.DateTimeField(null=True)
    compensation_finished_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "taskyard"
        default_permissions = ()
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["saga", "name"], name="taskyard_sagastep_name")
        ]

    def __str__(self) -> str:
        return f"{self.saga}: {self.name}"


class SagaEvent(models.Model):
    """A line of a saga's history, written with the transition it tells of."""

    saga = models.UUIDField()
    #: Of the saga after it: none is missing.
    revision = models.BigIntegerField()
    at = models.DateTimeField()
    what = models.CharField(max_length=24)
    step = models.CharField(max_length=100, default="")
    text = models.CharField(max_length=500, default="")
    #: The operator who asked for it.
    who = models.CharField(max_length=150, default="")

    class Meta:
        app_label = "taskyard"
        default_permissions = ()
        indexes: ClassVar[list[Any]] = [models.Index(fields=["saga", "id"], name="taskyard_sagaevent_saga")]

    def __str__(self) -> str:
        return f"{self.saga}: {self.what} {self.step}"


class SagaSignal(models.Model):
    """Something that a saga was told; used once, by the first step that waits for it."""

    saga = models.UUIDField()
    name = models.CharField(max_length=100)
    #: The sender's own: the same key twice is the same signal.
    key = models.CharField(max_length=150, null=True)
    payload = JsonTextField(null=True)
    received_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "taskyard"
        default_permissions = ()
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["saga", "name", "key"], name="taskyard_sagasignal_key")
        ]

    def __str__(self) -> str:
        return f"{self.saga}: {self.name}"


class SagaPlan(models.Model):
    """What a definition said of its steps when a saga began; whoever has not its code can decide by it all the same."""

    digest = models.CharField(max_length=32, primary_key=True)
    name = models.CharField(max_length=200)
    version = models.IntegerField()
    steps = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        app_label = "taskyard"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
