"""Many calls of one task, in one transaction and in flat memory."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from django.db import transaction
from django.utils import timezone

from taskyard import events
from taskyard.enqueue.databases import alias_of_call, put
from taskyard.enqueue.owner import owner_of, tenant_of_caller
from taskyard.enqueue.row import payload_of, template_of
from taskyard.enqueue.writing import control_alias, wake_feeder, write
from taskyard.errors import InvalidName, NoTenant, PayloadError, TaskyardError, TenantMismatch
from taskyard.jobs.ids import new_id_texts
from taskyard.jobs.rows import copying, newjob, tally
from taskyard.jobs.rows.copying import Copied
from taskyard.jobs.rows.newjob import NewJob
from taskyard.jobs.rows.sql import Sql
from taskyard.settings import get_settings
from taskyard.tasks.doors import door
from taskyard.tasks.task import Task

#: Rows of one INSERT of ``enqueue_many``.
CHUNK = min(500, newjob.MAX_ROWS)
#: Rows of one COPY of ``enqueue_many``, where the database has that.
COPY_CHUNK = 5_000

_PLASTIC = 0.6180339887498949

C = TypeVar("C")


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """A call that ``enqueue_many`` or ``enqueue_for_tenants`` did not write."""

    index: int
    reason: str
    #: Whose call it was, in ``enqueue_for_tenants``.
    tenant: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class EnqueueReport:
    """What became of many calls: counts, and each rejected one with its position and reason."""

    created: int
    duplicates: int
    rejected: tuple[Rejected, ...]


def enqueue_many(
    task: Task[Any, Any], calls: Iterable[Mapping[str, Any]], *, spread: dt.timedelta | None = None
) -> EnqueueReport:
    """Write a job for each mapping of keyword arguments, all in one transaction, in flat memory.

    With ``spread`` the jobs become due evenly over that time. A call that cannot be written (not JSON, too large,
    wrong arguments) is reported and left out; the others are written. Keys of one chunk are written in sorted order,
    so that two concurrent calls with the same keys wait for each other instead of deadlocking within a chunk. In a
    transaction of another database than the jobs', duplicates are found when the messages are relayed: all count as
    created.
    """
    return _Many(task, timezone.now(), spread, alias=alias_of_call(task.call.database)).write(calls)


class Bulk(Generic[C]):
    """Many calls of one task, of a kind ``C``: what is the same in all of them is made once."""

    #: What is wrong with one call alone, and leaves the others as they are.
    REFUSALS: tuple[type[Exception], ...] = (PayloadError, InvalidName, TypeError, KeyError, TenantMismatch)

    def __init__(
        self, task: Task[Any, Any], now: dt.datetime, spread: dt.timedelta | None, *, alias: str,
        template: NewJob | None = None,
    ) -> None:  # fmt: skip
        # As it was given: a caller need not heed the types.
        length: object = spread
        if length is not None and not (isinstance(length, dt.timedelta) and length >= dt.timedelta(0)):
            raise TaskyardError(f"spread={length!r}: pass a timedelta that is not negative, or None.")
        self.task, self.spread, self.alias = task, spread, alias
        self.template = template_of(task, now) if template is None else template
        self.limit = get_settings().max_payload_bytes
        #: Whether rows may have keys.
        self.is_unique = bool(task.options.unique or task.call.unique_key)
        self.rejected: list[Rejected] = []
        #: Calls looked at, and those of them that could be written.
        self.seen = self.total = 0

    def write(self, calls: Iterable[C]) -> EnqueueReport:
        """Write them all, in one transaction."""
        newjob.refuse_odd_names(self.template)
        with transaction.atomic(using=self.alias):
            if self.alias != control_alias():
                created = _put(self, calls)
            elif copying.can_copy(Sql(self.alias)) and not events.job_enqueued.receivers and not door("is_eager")():
                created = _copy(self, calls)
            else:
                created = _insert(self, calls)
        return EnqueueReport(created, self.total - created, tuple(self.rejected))

    def prepare(self, calls: Sequence[C]) -> None:
        """Ask the database what the rows of these calls need; nothing is being written then."""

    def rows(self, calls: Sequence[C]) -> Iterator[Copied]:
        """The row of each call that can be written; the others are noted."""
        raise NotImplementedError


class _Many(Bulk[Mapping[str, Any]]):
    """The calls of one ``enqueue_many``."""

    def __init__(self, task: Task[Any, Any], now: dt.datetime, spread: dt.timedelta | None, *, alias: str) -> None:
        super().__init__(task, now, spread, alias=alias)
        self.template.tenant = _common_tenant(task)

    def rows(self, calls: Sequence[Mapping[str, Any]]) -> Iterator[Copied]:
        tenant = self.template.tenant
        for job_id, kwargs in zip(new_id_texts(len(calls)), calls, strict=True):
            index = self.seen
            self.seen += 1
            try:
                if self.task.options.tenant_from is not None:
                    owner_of(self.task, tenant, arguments=functools.partial(dict, kwargs))
                payload, key, lock = payload_of(self.task, (), kwargs=kwargs, tenant=tenant, limit_bytes=self.limit)
            except self.REFUSALS as error:
                self.rejected.append(Rejected(index, str(error)))
                continue
            available_at = self.template.available_at
            if self.spread:
                # Multiples of the golden ratio fill the window evenly however many come (Weyl's equidistribution).
                available_at += self.spread * ((index * _PLASTIC) % 1.0)
            self.total += 1
            yield Copied(job_id, payload[1], available_at, key, lock, tenant)


def _common_tenant(task: Task[Any, Any]) -> str:
    """All calls are of one tenant: see ``enqueue_for_tenants`` for a call in each of several."""
    tenant = tenant_of_caller() if task.call.tenant is None else task.call.tenant
    if not tenant and (task.options.tenant_scope == "tenant" or task.options.tenant_from is not None):
        raise NoTenant(f"enqueue_many of task {task.name!r}")
    return tenant


def _copy(bulk: Bulk[C], calls: Iterable[C]) -> int:
    options = bulk.task.options
    copier = copying.Copier(Sql(bulk.alias), bulk.template, is_unique=bulk.is_unique)
    # The calls of a chunk are all taken before anything is written, and what the project itself makes of a call (a
    # key, a tenant) is made then too: all of that may ask the same connection.
    is_quiet = not callable(options.unique) and not callable(options.tenant_from)
    chunks, created = _chunks(iter(calls), COPY_CHUNK), 0
    chunk = _next(bulk, chunks)
    rows = list(bulk.rows(chunk))
    while chunk:
        chunk = _next(bulk, chunks)
        upcoming: list[Copied] = []
        coming = map(upcoming.append, bulk.rows(chunk))
        created += copier.write(rows, meanwhile=coming if is_quiet else iter(())) if rows else 0
        deque(coming, maxlen=0)
        rows = upcoming
    if created:
        if bulk.template.batch is not None:
            tally.add(Sql(bulk.alias), {(bulk.template.batch, tally.ADDED): created})
        transaction.on_commit(wake_feeder, using=bulk.alias)
    return created


def _next(bulk: Bulk[C], chunks: Iterator[list[C]]) -> list[C]:
    chunk = next(chunks, [])
    bulk.prepare(chunk)
    return chunk


def _insert(bulk: Bulk[C], calls: Iterable[C]) -> int:
    created = 0
    for chunk in _chunks(iter(calls), CHUNK):
        bulk.prepare(chunk)
        new = [copying.as_new_job(bulk.template, row) for row in sorted(bulk.rows(chunk), key=_by_lock)]
        created += len(write(new, bulk.alias)) if new else 0
    return created


def _put(bulk: Bulk[C], calls: Iterable[C]) -> int:
    for chunk in _chunks(iter(calls), CHUNK):
        bulk.prepare(chunk)
        put([copying.as_new_job(bulk.template, row) for row in bulk.rows(chunk)], bulk.alias)
    return bulk.total


def _by_lock(row: Copied) -> str:
    return row.unique_lock or ""


def _chunks(calls: Iterator[C], size: int) -> Iterator[list[C]]:
    while chunk := list(itertools.islice(calls, size)):
        yield chunk
