"""Taking a queued job: the compare-and-set that makes a second start impossible."""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
import uuid
from collections.abc import Sequence
from typing import Any

from taskyard.jobs.rows.sql import Sql
from taskyard.settings import get_settings

_RETURNING = (
    "task, args, kwargs, message, task_id, tenant, queue, priority, attempt, max_attempts, root, parent, crashes,"
    " expires_at, checkpoint, counts, created_at, batch, subject_type"
)
#: The same, and what the claim itself wrote.
COLUMNS = f"{_RETURNING}, worker, started_at"


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """An attempt this process owns; whoever holds the token may settle it, nobody else."""

    id: uuid.UUID
    token: int
    started_at: dt.datetime
    worker: uuid.UUID
    task: str
    args: str
    kwargs: str
    message: str | None
    task_id: str
    tenant: str
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    root: uuid.UUID
    parent: uuid.UUID | None
    crashes: int
    expires_at: dt.datetime | None
    checkpoint: str | None
    counts: str | None
    created_at: dt.datetime
    batch: uuid.UUID | None = None
    subject_type: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What a message says of its job, and where it came from: it counts only where the row says the same."""

    task: str
    time_limit: float | None
    soft_time_limit: float | None
    #: Logical queues of the worker; empty where a message's queue cannot be told from its row.
    queues: tuple[str, ...]

    def guard(self) -> tuple[str, list[Any]]:
        """The condition on the row, and its parameters."""
        params: list[Any] = [self.task, *(-1.0 if v is None else v for v in (self.time_limit, self.soft_time_limit))]
        guard = "task = %s AND COALESCE(time_limit, -1) = %s AND COALESCE(soft_time_limit, -1) = %s"
        if self.queues:
            guard += f" AND queue IN ({', '.join(['%s'] * len(self.queues))})"
        return guard, [*params, *self.queues]


def new_token() -> int:
    """A random token: even if the claim's commit is lost in a database crash, no two attempts share one."""
    return secrets.randbits(63)


def claim(
    job_id: uuid.UUID, token: int, worker: uuid.UUID, now: dt.datetime, *, release_lock: bool = False,
    said: Said | None = None,
) -> Claim | None:  # fmt: skip
    """Start the next attempt of a queued job; None if it is not queued (a duplicate message, or cancelled).

    None as well if the message says something else than the row: a forged one cannot start a job with another task's
    options, other time limits or in a worker of other queues, and an outdated one is followed by the right one.

    ``release_lock`` gives the unique key free, for tasks declared ``unique_until="start"``. The commit may be lost in
    a database crash; then the job runs again, under another token.
    """
    sql = Sql(get_settings().database)
    assign = "state = 'running', attempt = attempt + 1, claim = %s, worker = %s, started_at = %s"
    if release_lock:
        assign += ", unique_lock = NULL"
    params = [token, sql.uuid(worker), sql.time(now)]
    guard = "state = 'queued'"
    if said is not None:
        condition, more = said.guard()
        guard, params = f"{guard} AND {condition}", [*params, *more]
    row = sql.change(job_id, assign, guard, params, returning=_RETURNING, weak=True)
    if row is None:
        return None
    owned = _from_row(sql, job_id, token, (*row, worker, now))
    _tell_subjects([owned], sql.alias)
    return owned


def claim_many(
    job_ids: Sequence[uuid.UUID], token: int, *, worker: uuid.UUID, now: dt.datetime, said: Said,
    release_lock: bool = False,
) -> list[Claim]:  # fmt: skip
    """Start the next attempts of several queued jobs under one token: those that could be, in the order given.

    One statement on PostgreSQL, one for each job elsewhere.
    """
    sql = Sql(get_settings().database)
    if sql.vendor != "postgresql":
        each = (claim(one, token, worker, now, release_lock=release_lock, said=said) for one in job_ids)
        return [owned for owned in each if owned is not None]
    assign = "state = 'running', attempt = attempt + 1, claim = %s, worker = %s, started_at = %s"
    condition, more = said.guard()
    rows = sql.change_many(
        f"{assign}, unique_lock = NULL" if release_lock else assign, f"state = 'queued' AND {condition}",
        [token, worker, now, *more], job_ids=job_ids, returning=f"id, {_RETURNING}",
    )  # fmt: skip
    owned = {sql.read_uuid(row[0]): row[1:] for row in rows}
    claims = [_from_row(sql, one, token, (*owned[one], worker, now)) for one in dict.fromkeys(job_ids) if one in owned]
    _tell_subjects(claims, sql.alias)
    return claims


def _tell_subjects(claims: Sequence[Claim], alias: str) -> None:
    about = [owned for owned in claims if owned.subject_type]
    if about:
        # Imported here: apps import this module before Django has loaded its models.
        from taskyard.batches import changes

        changes.begun(about, alias)


def find_claims(job_ids: Sequence[uuid.UUID], token: int) -> list[Claim]:
    """Those of the jobs that run under that token."""
    return [owned for one in job_ids if (owned := find_claim(one, token)) is not None]


def find_claim(job_id: uuid.UUID, token: int) -> Claim | None:
    """The running attempt with that token, for whoever settles it in its process's place."""
    sql = Sql(get_settings().database)
    rows = sql.query(
        f"SELECT {COLUMNS} FROM taskyard_job WHERE id = %s AND claim = %s AND state = 'running'",
        [sql.uuid(job_id), token],
    )
    return _from_row(sql, job_id, token, rows[0]) if rows else None


def _from_row(sql: Sql, job_id: uuid.UUID, token: int, row: tuple[Any, ...]) -> Claim:
    (task, args, kwargs, message, task_id, tenant, queue, priority, attempt, max_attempts, root, parent, crashes,
     expires_at, checkpoint, counts, created_at, batch, subject_type, worker, started_at) = row  # fmt: skip
    return Claim(
        id=job_id, token=token, started_at=sql.moment(started_at), worker=sql.read_uuid(worker), task=task,
        args=args, kwargs=kwargs, message=message, task_id=task_id or str(job_id), tenant=tenant, queue=queue,
        priority=priority, attempt=attempt, max_attempts=max_attempts,
        root=sql.read_uuid(root) if root else job_id, parent=sql.read_uuid(parent) if parent else None,
        crashes=crashes, expires_at=sql.read_time(expires_at), checkpoint=checkpoint, counts=counts,
        created_at=sql.moment(created_at),
        batch=sql.read_uuid(batch) if batch else None, subject_type=subject_type,
    )  # fmt: skip
