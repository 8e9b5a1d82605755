"""How a batch begins, and how members come to it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

from django.db import models, transaction
from django.utils import timezone

from taskyard.batches import callbacks
from taskyard.batches.decision import BatchState, Moment
from taskyard.batches.models import Batch
from taskyard.batches.teller import fold
from taskyard.enqueue import EnqueueReport, control_alias, enqueue_many
from taskyard.enqueue.owner import tenant_of_caller
from taskyard.errors import BatchEnded, DuplicateBatch, TaskyardError, TenantMismatch
from taskyard.jobs.current import find_current_job
from taskyard.jobs.ids import new_id
from taskyard.jobs.models import Job
from taskyard.settings import get_settings
from taskyard.tasks.task import Task
from taskyard.tasks.unique import unique_lock
from taskyard.tenancy.directory import name_of

#: Options of ``open`` that say what is enqueued at which moment.
_MOMENTS = {"on_success": Moment.SUCCESS, "on_failure": Moment.FAILURE, "on_complete": Moment.COMPLETE}


class Opening(TypedDict, total=False):
    """What can be said of a new batch; see :meth:`taskyard.batches.models.Batch.open`."""

    subject: models.Model
    #: A name, or with django-tenants the tenant object; the default is the current tenant.
    tenant: Any
    #: A user, or a text.
    created_by: Any
    unique: bool
    stale_after: dt.timedelta
    on_success: Any
    on_failure: Any
    on_complete: Any


@contextlib.contextmanager
def open_batch(name: str, **options: Any) -> Iterator[Batch]:
    """See :meth:`taskyard.batches.models.Batch.open`."""
    alias = control_alias()
    with transaction.atomic(using=alias):
        batch = _new(name, options, timezone.now())
        _write(batch, alias)
        batch.is_opening = True
        try:
            yield batch
        finally:
            batch.is_opening = False
        fold(batch.id, timezone.now(), seals=True)
        batch.refresh_from_db()


def _new(name: str, options: Mapping[str, Any], now: dt.datetime) -> Batch:
    if unknown := set(options) - set(Opening.__annotations__):
        known = ", ".join(sorted(Opening.__annotations__))
        raise TaskyardError(f"Batch {name!r}: unknown option {sorted(unknown)[0]!r}; known: {known}.")
    if not name or len(name) > 200 or not name.isprintable():
        raise TaskyardError(f"A batch cannot be named {name!r:.100}: 1 to 200 printable characters.")
    stale_after = options.get("stale_after") or get_settings().batch_stale_after
    running, by, subject = find_current_job(), options.get("created_by", ""), options.get("subject")
    tenant = options.get("tenant")
    batch = Batch(
        id=new_id(), name=name, tenant=tenant_of_caller() if tenant is None else name_of(tenant),
        created_at=now, updated_at=now, stale_at=now + stale_after, stale_after=stale_after.total_seconds(),
        created_by=str(by.pk if isinstance(by, models.Model) else by)[:150], parent=running.id if running else None,
    )  # fmt: skip
    if subject is not None:
        if subject.pk is None:
            raise TaskyardError(f"subject={subject!r} is not saved yet: save it first, a batch refers to its key.")
        batch.subject_type, batch.subject_id = subject._meta.label_lower, str(subject.pk)
    if options.get("unique"):
        key = f"{batch.subject_type}\0{batch.subject_id}"
        batch.lock = unique_lock(f"batch\0{name}", batch.tenant, key)
    batch.callbacks = {
        moment: callbacks.texts(options[option], batch, now) for option, moment in _MOMENTS.items() if option in options
    }
    return batch


def _write(batch: Batch, alias: str) -> None:
    if batch.lock is None:
        batch.save(using=alias, force_insert=True)
        return
    rows = Batch.objects.using(alias)
    while True:
        # Waits while another open transaction is about to write the same lock.
        rows.bulk_create([batch], ignore_conflicts=True)
        if rows.filter(id=batch.id).exists():
            return
        held = rows.filter(lock=batch.lock).first()
        if held is not None:
            raise DuplicateBatch(held)


def enqueue_member(batch: Batch, task: Task[..., Any], *, kwargs: Mapping[str, Any]) -> Job:
    """See :meth:`taskyard.batches.models.Batch.enqueue`."""
    with transaction.atomic(using=control_alias()):
        _admit(batch)
        job: Job = _of(batch, task).enqueue(**kwargs)
        return job


def enqueue_members(
    batch: Batch, task: Task[..., Any], *, calls: Iterable[Mapping[str, Any]], spread: dt.timedelta | None
) -> EnqueueReport:
    """See :meth:`taskyard.batches.models.Batch.enqueue_many`."""
    with transaction.atomic(using=control_alias()):
        _admit(batch)
        return enqueue_many(_of(batch, task), calls, spread=spread)


def _admit(batch: Batch) -> None:
    """Make sure that the batch cannot end before the caller's transaction does."""
    running = find_current_job()
    if batch.is_opening or (running is not None and running.batch == batch.id):
        # Nobody sees it yet; or it waits for the very job that this code is running in.
        return
    row = Batch.objects.select_for_update().filter(id=batch.id).first()
    if row is None or row.state != BatchState.RUNNING or row.cancel_requested_at is not None:
        raise BatchEnded(batch.name, batch.id)


def _of(batch: Batch, task: Task[..., Any]) -> Task[..., Any]:
    """The task with a call as a member."""
    call, control = task.call, control_alias()
    if call.database not in (None, control):
        raise TaskyardError(
            f"Members of a batch are written in the transaction of {control!r}, where jobs live, not in "
            f"{call.database!r}: open the batch after that transaction (transaction.on_commit)."
        )
    tenant = call.tenant if call.tenant is not None else batch.tenant or None
    if batch.tenant and tenant != batch.tenant:
        raise TenantMismatch(f"A member of batch {batch.name!r}", tenant or "", current=batch.tenant)
    member = dataclasses.replace(call, batch=batch.id, database=control, tenant=tenant)
    return Task(task.func, task.name, task.options, call=member)
