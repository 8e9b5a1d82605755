"""Rows of the project's own that carry the state of their job or batch, kept in step in the same transaction."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models, transaction
from django.db.models.signals import class_prepared
from django.utils import timezone

from taskyard.batches.decision import BatchState
from taskyard.batches.models import Batch
from taskyard.enqueue import control_alias, enqueue_once
from taskyard.errors import NotInStep, TenantNotReady, UnknownTenant
from taskyard.jobs.models import Job
from taskyard.jobs.queries import reason_of
from taskyard.jobs.states import State
from taskyard.runtime.fields import JsonTextField
from taskyard.settings import get_settings
from taskyard.tasks.task import Task
from taskyard.tenancy.context import current_tenant, find_tenancy, tenant_context

if TYPE_CHECKING:
    from typing import Unpack

    from taskyard.batches.opening import Opening
    from taskyard.batches.queries import Reading

#: The models of this process, by label.
LABELS: dict[str, type[TrackedModel]] = {}


class TrackedState(models.TextChoices):
    """What a person calls it; eight states of a job are five here."""

    #: Waiting for its time, its turn, or its next attempt.
    PENDING = "pending"
    #: An attempt runs, or members of the batch do.
    PROCESSING = "processing"
    #: The job succeeded; of a batch: all members have ended, and ``failed`` says how many not well.
    COMPLETED = "completed"
    #: No attempt is left.
    FAILED = "failed"
    CANCELLED = "cancelled"


_OF_JOB = {
    State.PENDING: TrackedState.PENDING, State.QUEUED: TrackedState.PENDING, State.RETRYING: TrackedState.PENDING,
    State.RUNNING: TrackedState.PROCESSING, State.WAITING: TrackedState.PROCESSING,
    State.SUCCEEDED: TrackedState.COMPLETED, State.FAILED: TrackedState.FAILED, State.CANCELLED: TrackedState.CANCELLED,
}  # fmt: skip
_OF_BATCH = {
    BatchState.RUNNING: TrackedState.PROCESSING,
    BatchState.COMPLETED: TrackedState.COMPLETED,
    BatchState.CANCELLED: TrackedState.CANCELLED,
}


class TrackedModel(models.Model):
    """Abstract: a row that says itself how far its work is, for a project that asks the row and not the job.

    It follows the last job of its own :meth:`enqueue`, or the last batch of its :meth:`open_batch`. What ends, retries,
    cancels or brings that job back writes the row in the same transaction; that an attempt begins is written directly
    after its claim. Counters of a job's items change with its states only, in between :meth:`reading` says them live.

    Limits: the row lives in the control database (:class:`~taskyard.errors.NotInStep` is raised for others), a job
    costs three short statements more, and a transaction that holds the row for long holds its job's end up. With a
    schema for each tenant, what happens while the tenant cannot be entered is missed until the job's next change.
    """

    state = models.CharField(max_length=10, choices=TrackedState, default=TrackedState.PENDING)
    #: The job or the batch it follows.
    job = models.UUIDField(null=True, blank=True, editable=False)
    batch = models.UUIDField(null=True, blank=True, editable=False)
    started_by = models.CharField(max_length=150, default="", blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    #: When anything here last changed.
    updated_at = models.DateTimeField(null=True, blank=True)
    #: Why it is failed or cancelled, or how its last attempt ended.
    error = models.TextField(default="", blank=True)
    #: ``[{"item", "error"}]`` of a job whose items failed, the first hundred.
    errors = JsonTextField(default=list, blank=True)
    total = models.PositiveIntegerField(default=0)
    processed = models.PositiveIntegerField(default=0)
    successful = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    #: What a change of state writes.
    FOLLOWED: ClassVar[tuple[str, ...]] = (
        "state", "job", "batch", "started_by", "started_at", "ended_at", "updated_at", "error", "errors", "total",
        "processed", "successful", "failed",
    )  # fmt: skip

    @property
    def task_id(self) -> str:
        """The id of the job, as Celery spells it; empty before the first."""
        return "" if self.job is None else str(self.job)

    @property
    def percentage(self) -> float:
        """From 0 to 100, by the counters."""
        if not self.total:
            return 100.0 if self.state == TrackedState.COMPLETED else 0.0
        return min(100.0, 100.0 * self.processed / self.total)

    @property
    def is_stale(self) -> bool:
        """Whether it should have news and has had none for ``BATCH_STALE_AFTER``; :meth:`reading` asks the job too."""
        is_active = self.state in (TrackedState.PENDING, TrackedState.PROCESSING)
        if not is_active or self.updated_at is None:
            return False
        return timezone.now() - self.updated_at > get_settings().batch_stale_after

    def enqueue(self, task: Task[..., Any], /, **kwargs: Any) -> Job:
        """Enqueue this call about the row, unless one of this task is unfinished already, and follow it.

        ``job.created`` says which; see :func:`taskyard.enqueue.enqueue_once` for what keeps a second one out.
        """
        alias = self._home()
        with transaction.atomic(using=alias):
            job = enqueue_once(task, self, **kwargs)
            if job.created:
                self._begin(alias, job=job.id, started_by=job.created_by, state=TrackedState.PENDING)
                # In eager mode it has run by now.
                follow([job.id], alias, timezone.now())
                self.refresh_from_db(using=alias, fields=self.FOLLOWED)
        return job

    @contextlib.contextmanager
    def open_batch(self, name: str, **options: Unpack[Opening]) -> Iterator[Batch]:
        """:meth:`taskyard.batches.models.Batch.open` about the row, one at a time, and follow it.

        Raises :class:`~taskyard.errors.DuplicateBatch` while one of this name is running.
        """
        alias = self._home()
        given: dict[str, Any] = {"unique": True, **options, "subject": self}
        with transaction.atomic(using=alias):
            with Batch.open(name, **given) as batch:
                self._begin(
                    alias, batch=batch.id, started_by=batch.created_by, state=TrackedState.PROCESSING,
                    started_at=batch.created_at,
                )  # fmt: skip
                yield batch
            self.refresh_from_db(using=alias, fields=self.FOLLOWED)

    def reading(self) -> Reading | None:
        """How far the job or batch is just now; None before the first, and when it was pruned."""
        from taskyard.batches import queries

        now = timezone.now()
        if self.batch is not None:
            return queries.find_batch(self.batch, now)
        return None if self.job is None else queries.find_job(self.job, now)

    def _home(self) -> str:
        alias = control_alias()
        if self._state.adding or self._state.db != alias:
            raise NotInStep(repr(self), self._state.db, alias)
        return alias

    def _begin(self, alias: str, **values: Any) -> None:
        fresh = {field.name: field.get_default() for field in self._meta.concrete_fields if field.name in self.FOLLOWED}
        rows = type(self)._base_manager.using(alias).filter(pk=self.pk)
        rows.update(**{**fresh, "updated_at": timezone.now(), **values})


def _register(sender: type[models.Model], **_: object) -> None:
    if issubclass(sender, TrackedModel):
        LABELS[sender._meta.label_lower] = sender


class_prepared.connect(_register)


def follow(job_ids: Iterable[uuid.UUID], alias: str, now: dt.datetime) -> None:
    """Write into the rows that follow these jobs what state they are in now.

    The jobs are locked: whoever changes one later writes its row later.
    """
    with transaction.atomic(using=alias):
        for job in Job.objects.using(alias).filter(id__in=list(job_ids)).order_by("id").select_for_update():
            _write(job, {"job": job.id}, alias=alias, updated_at=now, **_of_job(job))


def follow_batch(batch: Batch, alias: str, now: dt.datetime) -> None:
    """The same for a batch, whose row the caller has locked."""
    _write(
        batch, {"batch": batch.id}, alias=alias, updated_at=now, state=_OF_BATCH[BatchState(batch.state)],
        ended_at=batch.finished_at, total=batch.total, processed=batch.done, successful=batch.succeeded,
        failed=batch.failed,
    )  # fmt: skip


def _write(what: Job | Batch, which: Mapping[str, uuid.UUID], *, alias: str, **values: Any) -> None:
    model = LABELS.get(what.subject_type)
    if model is not None:
        # A job ends all the same whose tenant is gone with the row, or is not ready and has nobody who looks at it.
        with contextlib.suppress(UnknownTenant, TenantNotReady), _within(what.tenant):
            # Only if it is this one that the row follows.
            model._base_manager.using(alias).filter(pk=what.subject_id, **which).update(**values)


def _of_job(job: Job) -> dict[str, Any]:
    counts = job.counts or {}
    successful, failed = int(counts.get("succeeded", 0)), int(counts.get("failed", 0))
    return {
        "state": _OF_JOB[State(job.state)],
        "started_at": job.started_at,
        "ended_at": job.finished_at,
        "error": reason_of(job.error),
        "errors": counts.get("errors", []),
        "total": max(int(job.progress_total or 0), 0),
        "processed": max(successful + failed, int(job.progress_current or 0), 0),
        "successful": successful,
        "failed": failed,
    }


@contextlib.contextmanager
def _within(tenant: str) -> Iterator[None]:
    # With a schema for each tenant the row is in the tenant's, and agents are outside of all.
    tenancy = find_tenancy()
    if tenancy is None or get_settings().tenancy != "schemas" or current_tenant() == tenant:
        yield
        return
    with tenant_context(tenant):
        yield
