"""A job about to be written, and the one statement that writes it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import operator
import uuid
from collections.abc import Sequence
from typing import Any

from django.db.models.base import ModelState

from taskyard.errors import InvalidName
from taskyard.jobs.models import Job
from taskyard.jobs.rows.sql import TABLE, Sql
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
    occurrence: int | None = None
    batch: uuid.UUID | None = None
    tags: str | None = None
    trace: str = ""
    state: str = State.PENDING
    error: str | None = None
    finished_at: dt.datetime | None = None


#: Columns that differ from row to row.
FIELDS = tuple(field.name for field in dataclasses.fields(NewJob))
_TIMES = frozenset({"created_at", "available_at", "expires_at", "finished_at"})
_UUIDS = frozenset({"id", "parent", "root", "batch"})
#: Columns a new row fills with a constant.
CONSTANTS = {"attempt": 0, "crashes": 0, "publishes": 0, "custom_state": "''", "progress_message": "''"}
#: SQLite's oldest supported builds take 32,766 parameters in one statement.
MAX_ROWS = 32_766 // (len(FIELDS) + 1)

#: What most jobs leave as it is, as it stands in the statement that writes one of them.
_USUAL = {field.name: field.default for field in dataclasses.fields(NewJob) if field.default is not dataclasses.MISSING}
#: The same for every column, in order; the required ones are like nothing.
_USUALS = tuple(_USUAL.get(name, _USUAL) for name in FIELDS)
_values = operator.attrgetter(*FIELDS)


_NAMES = {"task": 255, "queue": 255, "task_id": 255, "tenant": 63}
_TEXTS = {"unique_key": 1_000_000, "created_by": 150, "subject_id": 100, "trace": 64}


def refuse_odd_names(job: NewJob) -> None:
    """Raise :class:`InvalidName` for what one database would cut, another refuse, and a log show as something else."""
    names = job.task + job.queue + job.task_id + job.tenant
    texts = (job.unique_key or "") + job.created_by + job.subject_id + job.trace
    if len(names) <= 63 and len(texts) <= 64 and (names + texts).isprintable():
        # Nearly always: this is on the way of every job.
        return
    for name, limit in _NAMES.items():
        value = getattr(job, name)
        if len(value) > limit or not value.isprintable():
            raise InvalidName(name, value, limit)
    for name, limit in _TEXTS.items():
        value = getattr(job, name)
        if value and (len(value) > limit or not (value.isascii() or _is_unicode(value)) or "\0" in value):
            raise InvalidName(name, value, limit)


def refuse_odd_tenant(name: str) -> None:
    """The same for a tenant alone."""
    if not is_tenant_name(name):
        raise InvalidName("tenant", name, _NAMES["tenant"])


def is_tenant_name(name: str) -> bool:
    """Whether a row can be of this tenant, or of none."""
    return len(name) <= _NAMES["tenant"] and name.isprintable()


def refuse_odd_key(key: str) -> None:
    """The same for a unique key alone."""
    if "\0" in key or len(key) > _TEXTS["unique_key"] or not (key.isascii() or _is_unicode(key)):
        raise InvalidName("unique_key", key, _TEXTS["unique_key"])


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def insert(sql: Sql, jobs: Sequence[NewJob], *, are_fresh: bool = False) -> set[uuid.UUID]:
    """Write the rows in one statement and return the ids that are new.

    A row whose unique key is held, or whose id exists, is left out. Waits while another open transaction is about to
    write the same key. ``are_fresh``: the ids were made for these rows, so that only a key can be in the way.
    """
    if len(jobs) == 1 and sql.vendor != "mysql":
        return {jobs[0].id} if _insert_one(sql, jobs[0], is_fresh=are_fresh) else set()
    rows = list(map(_values, jobs))
    # What all of them leave as it is stands in the statement: most of what would be sent, and quoted.
    sent = [n for n, usual in enumerate(_USUALS) if any(row[n] != usual for row in rows)]
    values: list[Any] = []
    for job, row in zip(jobs, rows, strict=True):
        values.extend(_stored(sql, FIELDS[n], row[n]) for n in sent)
        values.append(job.available_at <= job.created_at)
    columns, marks = _form(tuple(FIELDS[n] for n in sent))
    statement = f"INSERT INTO {TABLE} ({columns}) VALUES {', '.join([marks] * len(jobs))}"
    if sql.vendor == "mysql":
        return _insert_mysql(sql, jobs, statement, values)
    written = sql.query(f"{statement} ON CONFLICT DO NOTHING RETURNING id", values)
    return {sql.read_uuid(row[0]) for row in written}


def _insert_one(sql: Sql, job: NewJob, *, is_fresh: bool) -> bool:
    given = {name: value for name, value, usual in zip(FIELDS, _values(job), _USUALS, strict=True) if value != usual}
    values = [_stored(sql, name, value) for name, value in given.items()]
    values.append(job.available_at <= job.created_at)
    if is_fresh and job.unique_lock is None:
        # PostgreSQL makes an entry for a row that may be in the way in two steps, and looks first.
        sql.do(_statement(tuple(given), ""), values)
        return True
    return sql.one(_statement(tuple(given), " ON CONFLICT DO NOTHING RETURNING id"), values) is not None


@functools.lru_cache(maxsize=50)
def _statement(given: tuple[str, ...], tail: str) -> str:
    columns, marks = _form(given)
    return f"INSERT INTO {TABLE} ({columns}) VALUES {marks}{tail}"


@functools.lru_cache(maxsize=50)
def _form(given: tuple[str, ...]) -> tuple[str, str]:
    """The columns, and one row of values: what is given is sent, everything else stands there as it usually is."""
    # A handful of forms, so that each can be prepared; a value that is not sent costs nothing on its way.
    usual = {name: "NULL" if value is None else _literal(value) for name, value in _USUAL.items() if name not in given}
    constants = {**usual, **CONSTANTS}
    columns = ", ".join((*given, "due", *constants))
    values = ", ".join((*["%s"] * (len(given) + 1), *(str(value) for value in constants.values())))
    return columns, f"({values})"


def _literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


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
    job = Job.__new__(Job)
    # What Model.__init__ would do value by value, and here costs as much as all else an enqueue does in Python.
    values = job.__dict__
    values.update(_model_values())
    values.update(zip(FIELDS, _values(new), strict=True))
    for name in ("args", "kwargs", "message", "tags", "error"):
        text = values[name]
        values[name] = None if text is None else json.loads(text)
    values["due"] = new.available_at <= new.created_at
    values["_state"] = state = ModelState()
    state.adding, state.db = False, alias
    return job


@functools.cache
def _model_values() -> dict[str, Any]:
    """The defaults of a row's columns."""
    # What the database computes is read when it is asked for.
    return {field.attname: field.get_default() for field in Job._meta.concrete_fields if not field.generated}
