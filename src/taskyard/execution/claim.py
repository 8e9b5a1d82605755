"""Taking a queued job: the compare-and-set that makes a second start impossible."""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
import uuid
from typing import Any

from taskyard.jobs.sql import Sql
from taskyard.settings import get_settings

_RETURNING = (
    "task, args, kwargs, message, task_id, tenant, queue, priority, attempt, max_attempts, root, parent, crashes,"
    " expires_at, checkpoint, counts"
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


def new_token() -> int:
    """A random token: even if the claim's commit is lost in a database crash, no two attempts share one."""
    return secrets.randbits(63)


def claim(
    job_id: uuid.UUID, token: int, worker: uuid.UUID, now: dt.datetime, *, release_lock: bool = False
) -> Claim | None:
    """Start the next attempt of a queued job; None if it is not queued (a duplicate message, or cancelled).

    ``release_lock`` gives the unique key free, for tasks declared ``unique_until="start"``. The commit may be lost in
    a database crash; then the job runs again, under another token.
    """
    sql = Sql(get_settings().database)
    assign = "state = 'running', attempt = attempt + 1, claim = %s, worker = %s, started_at = %s"
    if release_lock:
        assign += ", unique_lock = NULL"
    params = [token, sql.uuid(worker), sql.time(now)]
    row = sql.change(job_id, assign, "state = 'queued'", params, returning=_RETURNING, weak=True)
    if row is None:
        return None
    return _from_row(sql, job_id, token, (*row, worker, now))


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
     expires_at, checkpoint, counts, worker, started_at) = row  # fmt: skip
    return Claim(
        id=job_id, token=token, started_at=sql.moment(started_at), worker=sql.read_uuid(worker), task=task,
        args=args, kwargs=kwargs, message=message, task_id=task_id or str(job_id), tenant=tenant, queue=queue,
        priority=priority, attempt=attempt, max_attempts=max_attempts,
        root=sql.read_uuid(root) if root else job_id, parent=sql.read_uuid(parent) if parent else None,
        crashes=crashes, expires_at=sql.read_time(expires_at), checkpoint=checkpoint, counts=counts,
    )  # fmt: skip
