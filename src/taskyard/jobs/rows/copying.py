"""Many new rows at once on PostgreSQL: COPY, five times as fast as INSERT.

https://www.postgresql.org/docs/current/sql-copy.html (text format). COPY knows no ``ON CONFLICT``: a batch that meets a
held key is undone, and from then on rows whose key is held are left out by a look beforehand. Where somebody takes a
key between the look and the write, that batch goes the ordinary way.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction

from taskyard.jobs.rows import newjob
from taskyard.jobs.rows.newjob import NewJob
from taskyard.jobs.rows.sql import TABLE, Sql

#: In this order in each line; every other column is the same in all of them.
_VARYING = ("id", "root", "kwargs", "available_at", "due", "unique_key", "unique_lock", "tenant")
#: Rows sent at once.
_PIECE = 250
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Copied(NamedTuple):
    """What one row has of its own."""

    id: str
    kwargs: str
    available_at: dt.datetime
    unique_key: str | None
    unique_lock: str | None
    tenant: str


def can_copy(sql: Sql) -> bool:
    """Whether this database and its driver can."""
    return sql.vendor == "postgresql" and getattr(sql.connection.Database, "__name__", "") == "psycopg"  # type: ignore[attr-defined]


class Copier:
    """Writes rows that differ from ``template`` only in what :class:`Copied` names, in the caller's transaction."""

    def __init__(self, sql: Sql, template: NewJob, *, is_unique: bool) -> None:
        self.sql, self.template, self.is_unique = sql, template, is_unique
        same = {name: getattr(template, name) for name in newjob.FIELDS if name not in _VARYING}
        constants = {**same, **newjob.CONSTANTS}
        self._tail = "".join(f"\t{_text(value)}" for value in constants.values()) + "\n"
        self._statement = f"COPY {TABLE} ({', '.join((*_VARYING, *constants))}) FROM STDIN"
        self._root = str(template.root) if template.root else None
        #: Once a key was held: it is rarely the only one.
        self._looks_first = False

    def write(self, rows: Sequence[Copied], *, meanwhile: Iterator[object]) -> int:
        """Write a batch; how many of it were new. ``meanwhile`` is what to go on with while the server works on it."""
        if not self.is_unique:
            return self._copy(rows, meanwhile)
        free = _first_of_each_key(rows)
        if not self._looks_first:
            try:
                return self._try_to_copy(free, meanwhile)
            except IntegrityError:
                self._looks_first = True
        free = self._without_held(free)
        try:
            return self._try_to_copy(free, meanwhile)
        except IntegrityError:
            new = [as_new_job(self.template, row) for row in free]
            parts = (new[start : start + newjob.MAX_ROWS] for start in range(0, len(new), newjob.MAX_ROWS))
            return sum(len(newjob.insert(self.sql, part)) for part in parts)

    def _try_to_copy(self, rows: Sequence[Copied], meanwhile: Iterator[object]) -> int:
        with transaction.atomic(self.sql.alias):
            return self._copy(rows, meanwhile)

    def _copy(self, rows: Sequence[Copied], meanwhile: Iterator[object]) -> int:
        lines = self._lines(rows)
        connection = self.sql.connection
        with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(self._statement) as copy:
            while part := "".join(itertools.islice(lines, _PIECE)):
                copy.write(part)
                for _ in itertools.islice(meanwhile, _PIECE):
                    pass
        return len(rows)

    def _lines(self, rows: Sequence[Copied]) -> Iterator[str]:
        created, tail, moments = self.template.created_at, self._tail, _Moments()
        for row_id, kwargs, available_at, key, lock, tenant in rows:
            due = "t" if available_at <= created else "f"
            # JSON text holds no character that needs an escape, but the backslash of its own ones.
            payload = kwargs.replace("\\", "\\\\") if "\\" in kwargs else kwargs
            mine = f"\t{key.translate(_ESCAPES)}\t{lock}" if key is not None else "\t\\N\t\\N"
            # Of what needs an escape, a tenant's name can hold the backslash alone.
            owner = tenant.replace("\\", "\\\\") if "\\" in tenant else tenant
            yield f"{row_id}\t{self._root or row_id}\t{payload}\t{moments[available_at]}\t{due}{mine}\t{owner}{tail}"

    def _without_held(self, rows: Sequence[Copied]) -> Sequence[Copied]:
        locks = [row.unique_lock for row in rows]
        held = {
            row[0] for row in self.sql.query(f"SELECT unique_lock FROM {TABLE} WHERE unique_lock = ANY(%s)", [locks])
        }
        return [row for row in rows if row.unique_lock not in held]


def _first_of_each_key(rows: Sequence[Copied]) -> Sequence[Copied]:
    """In the order of their keys: calls with the same keys wait for each other, and the index is written in order."""
    first: dict[str, Copied] = {}
    for row in rows:
        first.setdefault(row.unique_lock or "", row)
    return [first[lock] for lock in sorted(first)]


def as_new_job(template: NewJob, row: Copied) -> NewJob:
    """The row for the ordinary way."""
    row_id = uuid.UUID(row.id)
    return dataclasses.replace(
        template, id=row_id, root=template.root or row_id, kwargs=row.kwargs, available_at=row.available_at,
        unique_key=row.unique_key, unique_lock=row.unique_lock, tenant=row.tenant,
    )  # fmt: skip


class _Moments(dict[dt.datetime, str]):
    """Times as text; mostly it is one and the same."""

    def __missing__(self, moment: dt.datetime) -> str:
        if len(self) < 10:
            self[moment] = moment.isoformat()
            return self[moment]
        return moment.isoformat()


def _text(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, dt.datetime):
        return value.isoformat()
    # Constants stand in statements as well: an empty text is spelled '' there.
    return "" if value == "''" else str(value).translate(_ESCAPES)
