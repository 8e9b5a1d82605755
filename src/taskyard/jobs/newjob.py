"""A job about to be written, and the one statement that writes it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

from taskyard.jobs.models import Job
from taskyard.jobs.sql import TABLE, Sql
from taskyard.jobs.states import State


@dataclasses.dataclass(slots=True, kw_only=True)
class NewJob:
    """Values of a new row; payloads are JSON text already."""

    id: uuid.UUID
    task: str
    queue: str
    created_at: dt.datetime
    available_at: dt.datetime
    args: str = "[]"
    kwargs: str = "{}"
    message: str | None = None
    task_id: str = ""
    tenant: str = ""
    priority: int = 0
    max_attempts: int = 1
    expires_at: dt.datetime | None = None
    soft_time_limit: float | None = None
    time_limit: float | None = None
    unique_key: str | None = None
    unique_lock: str | None = None
    subject_type: str = ""
    subject_id: str = ""
    created_by: str = ""
    parent: uuid.UUID | None = None
    root: uuid.UUID | None = None
    tags: str | None = None
    trace: str = ""
    state: str = State.PENDING
    error: str | None = None
    finished_at: dt.datetime | None = None


_FIELDS = tuple(field.name for field in dataclasses.fields(NewJob))
_TIMES = frozenset({"created_at", "available_at", "expires_at", "finished_at"})
_UUIDS = frozenset({"id", "parent", "root"})
#: Columns a new row fills with a constant.
_CONSTANTS = {"attempt": 0, "crashes": 0, "publishes": 0, "custom_state": "''", "progress_message": "''"}
_COLUMNS = ", ".join((*_FIELDS, "due", *_CONSTANTS))
_ROW = f"({', '.join(['%s'] * (len(_FIELDS) + 1))}, {', '.join(str(v) for v in _CONSTANTS.values())})"
#: SQLite's oldest supported builds take 32,766 parameters in one statement.
MAX_ROWS = 32_766 // (len(_FIELDS) + 1)


def insert(sql: Sql, jobs: Sequence[NewJob]) -> set[uuid.UUID]:
    """Write the rows in one statement and return the ids that are new.

    A row whose unique key is held, or whose id exists, is left out. Waits while another open transaction is about to
    write the same key.
    """
    values: list[Any] = []
    for job in jobs:
        values.extend(_stored(sql, name, getattr(job, name)) for name in _FIELDS)
        values.append(job.available_at <= job.created_at)
    rows = ", ".join([_ROW] * len(jobs))
    statement = f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES {rows}"
    if sql.vendor == "mysql":
        return _insert_mysql(sql, jobs, statement, values)
    written = sql.query(f"{statement} ON CONFLICT DO NOTHING RETURNING id", values)
    return {sql.read_uuid(row[0]) for row in written}


def _insert_mysql(sql: Sql, jobs: Sequence[NewJob], statement: str, values: list[Any]) -> set[uuid.UUID]:
    before = _existing(sql, jobs)
    sql.execute(f"{statement} ON DUPLICATE KEY UPDATE {TABLE}.id = {TABLE}.id", values)
    return _existing(sql, jobs) - before


def _existing(sql: Sql, jobs: Sequence[NewJob]) -> set[uuid.UUID]:
    marks = ", ".join(["%s"] * len(jobs))
    rows = sql.query(f"SELECT id FROM {TABLE} WHERE id IN ({marks})", [sql.uuid(job.id) for job in jobs])
    return {sql.read_uuid(row[0]) for row in rows}


def _stored(sql: Sql, name: str, value: Any) -> Any:
    if name in _TIMES:
        return sql.time(value)
    return sql.uuid(value) if name in _UUIDS else value


def as_job(new: NewJob, alias: str) -> Job:
    """The row as the model its caller expects, without reading it back."""
    values = {name: getattr(new, name) for name in _FIELDS}
    for name in ("args", "kwargs", "message", "tags", "error"):
        values[name] = Job._meta.get_field(name).from_db_value(values[name], None, None)  # type: ignore[union-attr]
    job = Job(due=new.available_at <= new.created_at, **values)
    job._state.adding, job._state.db = False, alias
    return job
