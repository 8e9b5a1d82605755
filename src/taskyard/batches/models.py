"""The row of a batch, and the small rows by which its members are counted."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.db import models

from taskyard.batches.decision import BatchState
from taskyard.jobs.current import find_current_job
from taskyard.runtime.fields import JsonTextField
from taskyard.settings import get_settings
from taskyard.tasks.task import Task

if TYPE_CHECKING:
    from typing import Unpack

    from taskyard.batches.opening import Opening
    from taskyard.enqueue import EnqueueReport
    from taskyard.jobs.models import Job


class BatchQuerySet(models.QuerySet):  # type: ignore[type-arg]
    """Words for finding batches."""

    def active(self) -> Self:
        """Batches whose members have not all ended."""
        return self.filter(state=BatchState.RUNNING.value)

    def stale(self, now: dt.datetime) -> Self:
        """Running ones of which no member was added or has ended for longer than they say.

        Members may run all the same: :func:`taskyard.batches.queries.find_batch` asks them too.
        """
        return self.active().filter(stale_at__lt=now)

    def for_subject(self, instance: models.Model) -> Self:
        """Batches about this row of the project's own."""
        return self.filter(subject_type=instance._meta.label_lower, subject_id=str(instance.pk))

    def visible_to(self, tenant: str | None) -> Self:
        """What whoever is looking may see: a tenant its own batches, an operator (None) all of them."""
        return self.all() if tenant is None else self.filter(tenant=tenant)


class BatchManager(models.Manager):  # type: ignore[type-arg]
    """``Batch.objects``: always on the control database."""

    def get_queryset(self) -> BatchQuerySet:
        return BatchQuerySet(self.model, using=self._db or get_settings().database)

    def active(self) -> BatchQuerySet:
        """Batches whose members have not all ended."""
        return self.get_queryset().active()

    def for_subject(self, instance: models.Model) -> BatchQuerySet:
        """Batches about this row of the project's own."""
        return self.get_queryset().for_subject(instance)

    def visible_to(self, tenant: str | None) -> BatchQuerySet:
        """What whoever is looking may see: a tenant its own batches, an operator (None) all of them."""
        return self.get_queryset().visible_to(tenant)


class Batch(models.Model):
    """Jobs that are followed as one. Written by ``open``, the teller and ``cancel``; its members never touch it.

    The counts are those of the last look of a teller: at most about a second old while workers run, never wrong by a
    member for ever. Live ones are nowhere: that would be one row that all members wait for.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    tenant = models.CharField(max_length=63, default="")
    state = models.CharField(
        max_length=10, default=BatchState.RUNNING.value, choices=[(s.value, s.value) for s in BatchState]
    )
    #: Digest of (tenant, name, subject) while it runs, where there may be one such batch at a time.
    lock = models.CharField(max_length=64, null=True, unique=True)
    #: False while the block that opens it is running, whatever its first members have done by then.
    is_sealed = models.BooleanField(default=False)

    #: Members: jobs that were written for it. A call that met a held unique key is no member.
    total = models.IntegerField(default=0)
    succeeded = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    cancelled = models.IntegerField(default=0)

    created_at = models.DateTimeField()
    #: When a teller last heard of a member.
    updated_at = models.DateTimeField()
    #: From then on it is stale, unless news come.
    stale_at = models.DateTimeField()
    #: Seconds without news after which it is stale.
    stale_after = models.FloatField()
    #: When the last member had ended; NULL again when one is brought back.
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    subject_type = models.CharField(max_length=100, default="")
    subject_id = models.CharField(max_length=100, default="")
    created_by = models.CharField(max_length=150, default="")
    #: The job that opened it.
    parent = models.UUIDField(null=True)

    #: ``{"success": [job, …], …}``: what is enqueued at each moment, as the text of the job.
    callbacks = JsonTextField(default=dict)
    #: ``{"success": time, …}``: the moments that came. They come once.
    told = JsonTextField(default=dict)

    objects: ClassVar[BatchManager] = BatchManager()

    #: In the block that opens it, nobody else can see it yet.
    is_opening: bool = False

    class Meta:
        app_label = "taskyard"
        verbose_name_plural = "batches"
        permissions: ClassVar[list[Any]] = [("cancel_batch", "Can cancel batches")]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["created_at"], name="taskyard_batch_created"),
            models.Index(fields=["finished_at"], name="taskyard_batch_finished"),
            models.Index(fields=["subject_type", "subject_id"], name="taskyard_batch_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.name}[{self.id}]"

    @property
    def done(self) -> int:
        """Members that have ended."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def percentage(self) -> float:
        """From 0 to 100; 100 for a batch without members."""
        return 100.0 * self.done / self.total if self.total else 100.0

    @classmethod
    def open(cls, name: str, **options: Unpack[Opening]) -> contextlib.AbstractContextManager[Batch]:
        """A block in which a new batch gets its first members.

        The block is one transaction of the control database: batch and members exist exactly if it ends without an
        error and what is around it commits. A batch that gets no members has ended when the block does.

        ``subject``: a saved row of the project's own. ``unique=True``: at most one such batch of a name and a subject
        (and a tenant) runs at a time; a second ``open`` waits for the transaction of the first, then raises
        :class:`~taskyard.errors.DuplicateBatch`. ``stale_after``: a timedelta, else ``BATCH_STALE_AFTER``.
        ``on_success``, ``on_failure``, ``on_complete``: a task, a pair of task and arguments, or a list of them; see
        :class:`~taskyard.batches.decision.Moment` for when each comes. A task that takes ``batch_id`` is given it.
        """
        from taskyard.batches.opening import open_batch

        return open_batch(name, **options)

    @classmethod
    def current(cls) -> Batch | None:
        """The batch that the running job is a member of, or None."""
        running = find_current_job()
        return None if running is None or running.batch is None else cls.objects.get(id=running.batch)

    def enqueue(self, task: Task[..., Any], /, **kwargs: Any) -> Job:
        """Write a job for this call as a member, in the caller's transaction on the control database; returns it.

        From a member of the batch, or in the block that opens it, at any time. From elsewhere the batch is locked
        until the caller's transaction ends: counting waits for that, its members do not. Raises
        :class:`~taskyard.errors.BatchEnded` if it has ended or is cancelled. If the task's unique key is held, the job
        that holds it is returned (``created`` is False) and is no member.
        """
        from taskyard.batches.opening import enqueue_member

        return enqueue_member(self, task, kwargs=kwargs)

    def enqueue_many(
        self, task: Task[..., Any], calls: Iterable[Mapping[str, Any]], *, spread: dt.timedelta | None = None
    ) -> EnqueueReport:
        """:func:`taskyard.enqueue_many` with the jobs as members; see :meth:`enqueue`."""
        from taskyard.batches.opening import enqueue_members

        return enqueue_members(self, task, calls=calls, spread=spread)

    def then(self, task: Task[..., Any], /, **kwargs: Any) -> Self:
        """Enqueue this call when all members have ended and nobody has cancelled the batch: the next stage.

        Once, in the transaction that decides that the batch has ended; at once if it has ended already. Failed members
        do not keep the next stage from starting (``on_success`` does). Returns the batch.
        """
        from taskyard.batches.callbacks import add_next

        add_next(self, task, kwargs=kwargs)
        return self

    def cancel(self) -> bool:
        """Cancel all members that have not ended, and the next stage; False if the batch had ended.

        Members that run are asked to stop. Of a large batch the first 2,000 are cancelled when this returns, and the
        others by the tellers.
        """
        from django.utils import timezone

        from taskyard.batches.cancelling import cancel

        return bool(cancel([self.id], timezone.now()))


class BatchTally(models.Model):
    """What happened to members and is not counted in their batch's row yet; a teller adds it up and deletes it."""

    #: No foreign key: a member's end must not lock the row of its batch.
    batch = models.UUIDField()
    #: ``added``, or a final state.
    what = models.CharField(max_length=10)
    #: Negative when ended members were brought back.
    delta = models.IntegerField()

    class Meta:
        app_label = "taskyard"
        indexes: ClassVar[list[Any]] = [models.Index(fields=["batch", "id"], name="taskyard_tally_batch")]

    def __str__(self) -> str:
        return f"{self.batch}: {self.what} {self.delta:+d}"
