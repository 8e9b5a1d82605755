"""Enqueueing in a transaction of another database than the one where jobs live: by an outbox message there."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Sequence
from functools import partial

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.utils import timezone

from taskyard.enqueue.writing import existing_job, record, refuse_ids_of_others, set_off
from taskyard.errors import ConfigurationError, TenantNotReady, UnknownTenant
from taskyard.jobs.ids import new_id
from taskyard.jobs.models import Job
from taskyard.jobs.rows.newjob import NewJob, as_job
from taskyard.jobs.rows.sql import Sql
from taskyard.outbox.models import OutboxMessage
from taskyard.outbox.payload import Notice, notice_text, payload_text
from taskyard.outbox.relay import BATCH, Intake, relay
from taskyard.runtime.faults import fault_point
from taskyard.settings import get_settings
from taskyard.tasks.doors import door
from taskyard.tenancy.aliases import PREFIX, is_tenants
from taskyard.tenancy.context import current_tenant
from taskyard.tenancy.databases import database_of

logger = logging.getLogger(__name__)

#: Most batches that the process that committed them relays itself; what is left, the agents find.
_MOST_BATCHES = 20


class _Noted(threading.local):
    """What this thread wrote to outboxes."""

    def __init__(self) -> None:
        #: Outboxes it has not relayed since.
        self.aliases: set[str] = set()
        #: Jobs whose callers are about to be told what became of them.
        self.told: frozenset[uuid.UUID] = frozenset()


_noted = _Noted()


def alias_of_call(asked: str | None = None) -> str:
    """In whose transaction a call's job is written: as asked, else the current tenant's, else the control database's.

    Raises :class:`ConfigurationError` for an alias that has no outbox.
    """
    settings = get_settings()
    if asked is None:
        tenant = current_tenant() if settings.tenancy == "databases" else ""
        return database_of(tenant) if tenant else settings.database
    if asked == settings.database or asked in settings.outbox_databases:
        return asked
    if settings.tenancy == "databases" and is_tenants(asked):
        return database_of(asked.removeprefix(PREFIX))
    raise ConfigurationError(
        [
            f"database={asked!r}: jobs live in {settings.database!r} (TASKYARD['DATABASE']), and no outbox is kept in "
            f"{asked!r}. Enqueue in a transaction of that, or name {asked!r} in TASKYARD['OUTBOX_DATABASES']."
        ]
    )


def put(jobs: Sequence[NewJob], alias: str) -> bool:
    """Write messages in the caller's transaction on that alias; whether they are jobs already when this returns.

    After the commit, the process that made it relays them at once; if it dies, or the control database is away, an
    agent does (:class:`~taskyard.outbox.relay.Relay`). A unique key is locked when the job is written: one that finds
    it held is written as ``cancelled`` (reason ``duplicate``). Where this returns True nothing was written for such a
    job: see :func:`what_became_of`.
    """
    sql = Sql(alias)
    for start in range(0, len(jobs), BATCH):
        _insert(sql, jobs[start : start + BATCH])
    _noted.aliases.add(alias)
    if is_within_transaction(alias):
        _relay_after_commit(alias, on=alias)
        return False
    _noted.told = frozenset(job.id for job in jobs)
    try:
        is_relayed = relay_soon(alias)
    finally:
        _noted.told = frozenset()
    if is_relayed:
        refuse_ids_of_others(jobs, get_settings().database)
    return is_relayed


def put_notice(notice: Notice, alias: str) -> bool:
    """Write something else than a job into an outbox, in the caller's transaction on that alias; whether it is done.

    The same holds for it as for the messages of :func:`put`. Its data is JSON; the door of its kind takes it.
    """
    text = notice_text(notice)
    OutboxMessage.objects.using(alias).create(id=new_id(), payload=text, created_at=timezone.now())
    _noted.aliases.add(alias)
    if is_within_transaction(alias):
        _relay_after_commit(alias, on=alias)
        return False
    return relay_soon(alias)


def what_became_of(new: NewJob, control: str) -> Job:
    """The job of a message that was relayed, or the unfinished one that holds its unique key.

    Raises :class:`~taskyard.errors.DuplicateJob` if the task says so.
    """
    if new.unique_lock is not None:
        own = Job.objects.using(control).filter(id=new.id).first()
        # An agent was faster, and did not know that somebody waits for the answer.
        is_refused = own is not None and own.state == "cancelled" and (own.error or {}).get("reason") == "duplicate"
        if own is None or is_refused:
            return existing_job(new, control)
    return as_job(new, control)


def _insert(sql: Sql, jobs: Sequence[NewJob]) -> None:
    marks = ", ".join(["(%s, %s, %s)"] * len(jobs))
    values = [value for job in jobs for value in (sql.uuid(job.id), payload_text(job), sql.time(job.created_at))]
    sql.execute(f"INSERT INTO {OutboxMessage._meta.db_table} (id, payload, created_at) VALUES {marks}", values)


def relay_soon(alias: str) -> bool:
    """Relay what this thread committed on the alias, now or after the transactions it is in; whether it did.

    An agent sees to what cannot be relayed now: errors of the databases are logged.
    """
    if alias not in _noted.aliases:
        # An earlier call of the same transaction did it.
        return True
    # What is written to the control database now would be lost with its transaction, though the message was deleted;
    # what a new transaction of the caller has written to the outbox must not be seen.
    for open_one in (get_settings().database, alias):
        if is_within_transaction(open_one):
            _relay_after_commit(alias, on=open_one)
            return False
    fault_point("outbox.committed")
    _noted.aliases.discard(alias)
    try:
        if is_tenants(alias):
            database_of(alias.removeprefix(PREFIX))
        return any(relay(alias, INTAKE, timezone.now()) < BATCH for _ in range(_MOST_BATCHES))
    except (DatabaseError, InterfaceError, UnknownTenant, TenantNotReady) as error:
        logger.warning("jobs of %r wait in its outbox: %s", alias, error)
        return False


def _relay_after_commit(alias: str, *, on: str) -> None:
    # Errors of eager jobs reach the caller, as they do without an outbox.
    transaction.on_commit(partial(relay_soon, alias), using=on, robust=not door("is_eager")())


def is_within_transaction(alias: str) -> bool:
    """Whether what is written on this alias now is yet to be committed; a test's own transaction does not count."""
    connection = connections[alias]
    if connection.connection is not None and not connection.in_atomic_block and not connection.get_autocommit():
        return True
    return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def _record(jobs: Sequence[NewJob], control: str) -> set[uuid.UUID]:
    written = record(jobs, control, told=_noted.told)
    _refuse([job for job in jobs if job.id not in written], control)
    return written


def _refuse(jobs: Sequence[NewJob], control: str) -> None:
    # Whose caller is about to be told needs no message that stays.
    refuse_ids_of_others([job for job in jobs if job.id not in _noted.told], control)


def _take(notice: Notice) -> None:
    door(notice.kind)(notice)


#: How a relay hands jobs in.
INTAKE = Intake(_record, _refuse, set_off, _take)
