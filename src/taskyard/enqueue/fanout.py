"""One call of a task for each of many tenants, in one transaction and in flat memory."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.utils import timezone

from taskyard.enqueue.databases import alias_of_call
from taskyard.enqueue.many import Bulk, EnqueueReport, Rejected
from taskyard.enqueue.models import TenantPlace
from taskyard.enqueue.owner import owner_of
from taskyard.enqueue.row import payload_of
from taskyard.enqueue.writing import control_alias
from taskyard.errors import InvalidTask, NoTenant, TaskyardError
from taskyard.jobs.ids import new_id_texts
from taskyard.jobs.rows import newjob
from taskyard.jobs.rows.copying import Copied
from taskyard.jobs.rows.newjob import NewJob
from taskyard.tasks.task import Task, TaskOptions
from taskyard.tasks.unique import unique_lock
from taskyard.tenancy.context import get_tenancy
from taskyard.tenancy.directory import name_of

#: A tenant and the arguments of its call.
Call = tuple[str, Mapping[str, Any]]

#: 2**64 divided by the golden ratio, made odd.
_GOLDEN = 0x9E37_79B9_7F4A_7C15
_WHOLE_BITS = 64


def enqueue_for_tenants(
    task: Task[Any, Any],
    kwargs: Mapping[str, Any] | Callable[[str], Mapping[str, Any]] | None = None,
    *,
    tenants: str | Iterable[Any] = "ready",
    spread: dt.timedelta | None = None,
) -> EnqueueReport:
    """Write a job for each tenant; see :func:`taskyard.tenancy.enqueue_for_tenants`."""
    _refuse_hopeless_task(task)
    names = _names(tenants)
    make = kwargs if callable(kwargs) else lambda _: kwargs or {}
    return _FanOut(task, timezone.now(), spread=spread).write((name, make(name)) for name in names)


class DueTime(NamedTuple):
    """Of a schedule, as its jobs know it."""

    occurrence: int
    #: The key of jobs whose task has none itself; None: they may run beside earlier ones.
    key: str | None


def enqueue_occurrence(
    pattern: Task[Any, Any] | NewJob, kwargs: Mapping[str, Any], *, tenants: Iterable[str], spread: dt.timedelta,
    now: dt.datetime, due: DueTime,
) -> EnqueueReport:  # fmt: skip
    """The jobs of one due time for these tenants, in the caller's transaction.

    They are made of a declared task, or of the row that each of them begins as. A tenant gets none while an earlier one
    under the same key has not ended.
    """
    task, template = (_stand_in(pattern.task), pattern) if isinstance(pattern, NewJob) else (pattern, None)
    _refuse_hopeless_task(task)
    bulk = _FanOut(task, now, spread=spread or None, template=template)
    bulk.template.occurrence, bulk.key = due
    bulk.is_unique = bulk.is_unique or due.key is not None
    return bulk.write((name, kwargs) for name in tenants)


class _FanOut(Bulk[Call]):
    """The calls of one ``enqueue_for_tenants``."""

    REFUSALS = (*Bulk.REFUSALS, NoTenant)

    def __init__(
        self, task: Task[Any, Any], now: dt.datetime, *, spread: dt.timedelta | None, template: NewJob | None = None
    ) -> None:
        # Of all tenants together: in nobody's own database.
        super().__init__(
            task, now, spread, alias=alias_of_call(task.call.database or control_alias()), template=template
        )
        #: The key of every call whose task has none.
        self.key: str | None = None
        self._phase = _hashed(task.name)
        self._numbers: dict[str, int] = {}

    def prepare(self, calls: Sequence[Call]) -> None:
        """Number the tenants of the chunk, where their places in a window are asked for."""
        if self.spread:
            self._numbers = TenantPlace.objects.numbers([name for name, _ in calls if newjob.is_tenant_name(name)])

    def rows(self, calls: Sequence[Call]) -> Iterator[Copied]:
        """The row of each tenant's call that can be written; the others are noted."""
        for job_id, (tenant, kwargs) in zip(new_id_texts(len(calls)), calls, strict=True):
            index = self.seen
            self.seen += 1
            try:
                newjob.refuse_odd_tenant(tenant)
                # The empty name is no tenant, whatever the task says of itself.
                if not tenant:
                    raise NoTenant(f"A call for each tenant of task {self.task.name!r}")
                owner_of(self.task, tenant, arguments=functools.partial(dict, kwargs))
                payload, key, lock = payload_of(self.task, (), kwargs=kwargs, tenant=tenant, limit_bytes=self.limit)
            except self.REFUSALS as error:
                self.rejected.append(Rejected(index, str(error), tenant))
                continue
            if lock is None and self.key is not None:
                key, lock = self.key, unique_lock(self.task.name, tenant, self.key)
            self.total += 1
            yield Copied(job_id, payload[1], self._available_at(tenant), key, lock, tenant)

    def _available_at(self, tenant: str) -> dt.datetime:
        if not self.spread:
            return self.template.available_at
        return self.template.available_at + place_in(
            self.spread, tenant, number=self._numbers.get(tenant), phase=self._phase
        )


def place_in(window: dt.timedelta, tenant: str, *, number: int | None, phase: int) -> dt.timedelta:
    """Where in the window a tenant's turn is: by its number, without one by its name.

    Multiples of the golden ratio fill the window evenly from any number to any other (Weyl's equidistribution; in
    whole numbers: Knuth, The Art of Computer Programming, vol. 3, §6.4). A hash of the name would fill it like rain:
    10,000 tenants in ten minutes would be 17 a second in the mean, and 30 or more in the worst.
    """
    share = phase + (_hashed(tenant) if number is None else number * _GOLDEN)
    length = window // dt.timedelta(microseconds=1)
    return dt.timedelta(microseconds=length * (share % (1 << _WHOLE_BITS)) >> _WHOLE_BITS)


def _hashed(text: str) -> int:
    # Of the project's own making, not Python's hash: that differs from process to process.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _stand_in(name: str) -> Task[Any, Any]:
    """For a task of Celery's: its message is made already, and what it takes nobody here knows."""

    def anything(**_: Any) -> None: ...

    return Task(anything, name, TaskOptions())


def _refuse_hopeless_task(task: Any) -> None:
    if not isinstance(task, Task):
        raise InvalidTask(getattr(task, "name", repr(task)), "a call for each tenant takes what @task returned")
    if task.options.tenant_scope == "public":
        raise InvalidTask(
            task.name, "it is declared tenant_scope='public' and runs outside of all tenants: enqueue it once"
        )
    if task.call.tenant is not None:
        raise TaskyardError(
            f"Task {task.name!r}: .using(tenant={task.call.tenant!r}) and a call for each tenant contradict each other."
        )


def _names(tenants: str | Iterable[Any]) -> Iterable[str]:
    if not isinstance(tenants, str):
        return map(name_of, tenants)
    if tenants != "ready":
        raise TaskyardError(f'tenants={tenants!r}: pass "ready", or an iterable of tenants, for example [{tenants!r}].')
    return get_tenancy().ready()
