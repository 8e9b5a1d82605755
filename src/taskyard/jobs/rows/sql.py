"""The few statements of the hot path, spelled for each database.

Django's ORM has no ``UPDATE … RETURNING`` and no ``SKIP LOCKED`` inside an update; these are one round trip each.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from taskyard.jobs.rows import prepared

TABLE = "taskyard_job"
#: What happened to members of batches and is not added up yet.
TALLY = "taskyard_batchtally"
#: Takes a queued job back into the table: what it was before it was fed.
PUT_BACK = "state = CASE WHEN attempt = 0 THEN 'pending' ELSE 'retrying' END, publishes = 0"

#: Makes the commit of this one statement asynchronous on PostgreSQL without touching the session. Losing it in a
#: database crash only means that the job runs again (P4).
_WEAK = " AND set_config('synchronous_commit', 'off', true) IS NOT NULL"


#: Most parts of one UNION.
_UNION_PARTS = 50


class Wish(NamedTuple):
    """So many rows of a tenant, of those that are not before a time."""

    tenant: str
    most: int
    since: dt.datetime | None = None


def _counted(update: str, state: str, delta: str, *, tail: str = "") -> str:
    """An update that returns ids and batches, with the tallies of the batches; it returns the ids."""
    tallies = f"SELECT batch, '{state}', {delta} FROM moved WHERE batch IS NOT NULL{tail}"
    insert = f"INSERT INTO {TALLY} (batch, what, delta) {tallies}"
    return f"WITH moved AS ({update}), told AS ({insert}) SELECT id FROM moved"


class Sql:
    """Statements on the job table of one database alias; make one per use, it holds nothing."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.connection: BaseDatabaseWrapper = connections[alias]
        self.vendor = self.connection.vendor

    def change(
        self,
        job_id: UUID,
        assign: str,
        guard: str,
        params: Sequence[Any],
        *,
        returning: str = "id",
        weak: bool = False,
    ) -> tuple[Any, ...] | None:
        """Compare-and-set on one row: ``assign`` where ``guard`` holds. The columns in ``returning``, or None.

        ``params`` are those of ``assign`` followed by those of ``guard``. With ``weak`` the commit may be lost in a
        database crash.
        """
        tail = self._weak() if weak else ""
        update = f"UPDATE {TABLE} SET {assign} WHERE {guard} AND id = %s{tail}"
        values = [*params, self.uuid(job_id)]
        if self.vendor != "mysql":
            return self.one(f"{update} RETURNING {returning}", values)
        with transaction.atomic(using=self.alias), self.connection.cursor() as cursor:
            cursor.execute(update, values)
            if not cursor.rowcount:
                return None
            return self.one(f"SELECT {returning} FROM {TABLE} WHERE id = %s", [self.uuid(job_id)])

    def end(
        self, job_id: UUID, assign: str, guard: str, params: Sequence[Any], *, state: str, weak: bool = False
    ) -> bool:
        """:meth:`change` to a final state, which its batch counts; whether it changed. One statement on PostgreSQL."""
        if self.vendor == "postgresql":
            tail = self._weak() if weak else ""
            update = f"UPDATE {TABLE} SET {assign} WHERE {guard} AND id = %s{tail} RETURNING id, batch"
            return self.one(_counted(update, state, "1"), [*params, job_id]) is not None
        with transaction.atomic(using=self.alias):
            row = self.change(job_id, assign, guard, params, returning="batch")
            if row is not None and row[0] is not None:
                self.execute(f"INSERT INTO {TALLY} (batch, what, delta) VALUES (%s, %s, 1)", [row[0], state])
        return row is not None

    def change_many(
        self, assign: str, guard: str, params: Sequence[Any], *, job_ids: Sequence[UUID], returning: str
    ) -> list[tuple[Any, ...]]:
        """On PostgreSQL, :meth:`change` for several rows, weakly; those it changed, in no order."""
        update = f"UPDATE {TABLE} SET {assign} WHERE {guard} AND id = ANY(%s::uuid[]){self._weak()}"
        return self.all(f"{update} RETURNING {returning}", [*params, [str(job_id) for job_id in job_ids]])

    def succeed_many(
        self, ends: Sequence[tuple[UUID, dt.datetime, dt.datetime, str | None]], token: int, *, members: bool = False
    ) -> set[UUID]:
        """On PostgreSQL, end attempts (id, start, end, result) that hold ``token`` as succeeded; the ids of those.

        ``members``: some of them are members of batches, which count them.
        """
        statement = (
            f"UPDATE {TABLE} AS job SET state = 'succeeded', custom_state = '', started_at = its.started_at,"
            " finished_at = its.finished_at, result = its.result, error = NULL, unique_lock = NULL, crashes = 0"
            " FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::text[])"
            " AS its(id, started_at, finished_at, result)"
            f" WHERE job.id = its.id AND job.claim = %s AND job.state = 'running'{self._weak()}"
            " RETURNING job.id, job.batch"
        )
        if members:
            statement = _counted(statement, "succeeded", "count(*)", tail=" GROUP BY batch")
        texts = [(str(job_id), start.isoformat(), end.isoformat(), result) for job_id, start, end, result in ends]
        columns = [list(column) for column in zip(*texts, strict=True)]
        return {self.read_uuid(row[0]) for row in self.all(statement, [*columns, token])}

    def _weak(self) -> str:
        return _WEAK if self.vendor == "postgresql" and not self.connection.in_atomic_block else ""

    def take(
        self, assign: str, where: str, params: Sequence[Any], *, order: str = "", limit: int, returning: str
    ) -> list[tuple[Any, ...]]:
        """Change up to ``limit`` rows that match ``where`` and nobody else is changing; their ``returning`` columns.

        ``params`` are those of ``assign`` followed by those of ``where``. The order of the answer is undefined, and
        ``returning`` must not name a column that ``assign`` changes.
        """
        order_by = f"ORDER BY {order}" if order else ""
        if self.vendor == "mysql":
            return self._take_by_lock(assign, where, params, f"{order_by} LIMIT {limit}", returning)
        pick = f"SELECT id FROM {TABLE} WHERE {where} {order_by} LIMIT {limit}"
        # = ANY(ARRAY(...)) runs the inner query once; IN (...) may run it again for each row and overshoot the limit.
        inner = f"= ANY(ARRAY({pick} FOR UPDATE SKIP LOCKED))" if self.vendor == "postgresql" else f"IN ({pick})"
        return self._all(f"UPDATE {TABLE} SET {assign} WHERE id {inner} RETURNING {returning}", params)

    def take_each(
        self, assign: str, where: str, params: Sequence[Any], *, wishes: Sequence[Wish], returning: str
    ) -> list[tuple[Any, ...]]:
        """:meth:`take` for several tenants at once: the first of each, in the order of their time."""
        if self.vendor == "postgresql":
            return self.all(self._lateral(assign, where, returning), self._lateral_params(assign, params, wishes))
        rows: list[tuple[Any, ...]] = []
        assigned = assign.count("%s")
        for start in range(0, len(wishes), _UNION_PARTS):
            picks, values = [], []
            for number, wish in enumerate(wishes[start : start + _UNION_PARTS]):
                since = "" if wish.since is None else " AND available_at >= %s"
                picks.append(
                    f"SELECT id FROM (SELECT id FROM {TABLE} WHERE {where} AND tenant = %s{since}"
                    f" ORDER BY available_at, id LIMIT {wish.most}) AS part{number}"
                )
                values += [*params[assigned:], wish.tenant]
                values += [] if wish.since is None else [self.time(wish.since)]
            rows += self._take_of(assign, " UNION ALL ".join(picks), [*params[:assigned], *values], returning=returning)
        return rows

    def _lateral(self, assign: str, where: str, returning: str) -> str:
        return (
            f"UPDATE {TABLE} SET {assign} WHERE id = ANY(ARRAY("
            "SELECT first.id FROM unnest(%s::text[], %s::timestamptz[], %s::int[]) AS wish(tenant, since, most)"
            f" CROSS JOIN LATERAL (SELECT id FROM {TABLE} WHERE {where} AND tenant = wish.tenant"
            " AND available_at >= wish.since ORDER BY available_at, id LIMIT wish.most FOR UPDATE SKIP LOCKED"
            f") AS first)) RETURNING {returning}"
        )

    def _lateral_params(self, assign: str, params: Sequence[Any], wishes: Sequence[Wish]) -> list[Any]:
        assigned = assign.count("%s")
        columns = [
            [wish.tenant for wish in wishes],
            [wish.since.isoformat() if wish.since else "-infinity" for wish in wishes],
            [str(wish.most) for wish in wishes],
        ]
        return [*params[:assigned], *columns, *params[assigned:]]

    def _take_of(self, assign: str, pick: str, params: Sequence[Any], *, returning: str) -> list[tuple[Any, ...]]:
        if self.vendor == "sqlite":
            return self._all(f"UPDATE {TABLE} SET {assign} WHERE id IN ({pick}) RETURNING {returning}", params)
        # MariaDB locks no parts of a union: what somebody took meanwhile does not match any more.
        assigned = assign.count("%s")
        ids = [row[0] for row in self._all(pick, params[assigned:])]
        if not ids:
            return []
        found = f"lane = 1 AND id IN ({', '.join(['%s'] * len(ids))})"
        return self._take_by_lock(assign, found, [*params[:assigned], *ids], "", returning)

    def _take_by_lock(
        self, assign: str, where: str, params: Sequence[Any], tail: str, returning: str
    ) -> list[tuple[Any, ...]]:
        assigned = assign.count("%s")
        with transaction.atomic(using=self.alias):
            rows = self._all(
                f"SELECT id, {returning} FROM {TABLE} WHERE {where} {tail} FOR UPDATE SKIP LOCKED",
                params[assigned:],
            )
            if rows:
                marks = ", ".join(["%s"] * len(rows))
                update = f"UPDATE {TABLE} SET {assign} WHERE id IN ({marks})"
                self.execute(update, [*params[:assigned], *(row[0] for row in rows)])
            return [row[1:] for row in rows]

    def execute(self, statement: str, params: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it touched."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            return int(cursor.rowcount)

    def query(self, statement: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query; its rows, raw (use :meth:`read_uuid` and :meth:`read_time`)."""
        return self._all(statement, params)

    def do(self, statement: str, params: Sequence[Any]) -> None:
        """Run a statement of the hot path that returns nothing."""
        if prepared.run(self.connection, statement, params=params) is None:
            self.execute(statement, params)

    def one(self, statement: str, params: Sequence[Any]) -> tuple[Any, ...] | None:
        """Run a statement of the hot path; its only row, or None. UUIDs and times as in :meth:`query`."""
        rows = prepared.run(self.connection, statement, params=params)
        if rows is not None:
            return rows[0] if rows else None
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row

    def all(self, statement: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement of the hot path; its rows. UUIDs and times as in :meth:`query`."""
        rows = prepared.run(self.connection, statement, params=params)
        return self._all(statement, params) if rows is None else rows

    def _all(self, statement: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            return list(cursor.fetchall())

    def uuid(self, value: UUID | None) -> Any:
        """A UUID as this database stores it."""
        if value is None or self.vendor == "postgresql":
            return value
        return str(value) if self.connection.features.has_native_uuid_field else value.hex

    def time(self, value: dt.datetime | None) -> Any:
        """An aware datetime as this database stores it."""
        return None if value is None else self.connection.ops.adapt_datetimefield_value(value)

    def read_uuid(self, value: Any) -> UUID:
        """A stored UUID."""
        return value if isinstance(value, UUID) else UUID(value)

    def moment(self, value: Any) -> dt.datetime:
        """A stored time that cannot be NULL."""
        found = self.read_time(value)
        assert found is not None
        return found

    def read_time(self, value: Any) -> dt.datetime | None:
        """A stored time, aware and in UTC."""
        if value is None:
            return None
        moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
