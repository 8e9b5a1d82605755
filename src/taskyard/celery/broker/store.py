"""The statements on the message table, spelled for each database; times are the database's own."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import kombu.exceptions
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import Error, InterfaceError, OperationalError, ProgrammingError
from kombu.utils.json import loads

TABLE = "taskyard_message"
#: NOTIFY channel for messages; the payload is the queue's name.
CHANNEL = "taskyard_message"

#: The database's clock: consumers on several hosts must agree on when a lease has run out.
NOW = {
    "postgresql": "statement_timestamp()",
    "mysql": "UTC_TIMESTAMP(6)",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')",
}
#: The same plus one parameter in seconds; NULL gives NULL.
LATER = {
    "postgresql": "statement_timestamp() + %s::float8 * interval '1 second'",
    "mysql": "UTC_TIMESTAMP(6) + INTERVAL %s SECOND",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')",
}

#: How long a writer outside of transactions waits for SQLite's write lock, beyond the connection's own time-out.
_LOCK_PATIENCE_SECONDS = 30.0

T = TypeVar("T")


class TablesMissing(kombu.exceptions.OperationalError):
    """The broker's tables are not there."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        super().__init__(
            f"The tables of the database broker are missing in database {alias!r}: run `manage.py migrate`"
            + ("" if alias == "default" else f" with `--database {alias}`")
            + "."
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """A message as it was handed out."""

    id: int
    priority: int
    payload: str
    deliveries: int

    def as_raw(self) -> dict[str, Any]:
        """In the form kombu's virtual channels read; raises what malformed JSON raises."""
        raw: dict[str, Any] = loads(self.payload)
        raw["properties"].setdefault("delivery_info", {})["redelivered"] = self.deliveries > 1
        # As RabbitMQ's quorum queues count: earlier deliveries.
        raw["headers"]["x-delivery-count"] = self.deliveries - 1
        return raw


def marks(values: Sequence[Any]) -> str:
    """Placeholders for an IN list."""
    return ", ".join(["%s"] * len(values))


def is_missing_table(error: BaseException) -> bool:
    """Whether a statement failed because migrations have not run."""
    cause = error.__cause__ or error
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or (error.args[:1] or (None,))[0]
    return code in ("42P01", 1146) or "no such table" in str(error)


def perform(alias: str, action: Callable[[], T]) -> T:
    """Run ``action`` on this thread's connection to ``alias``.

    From a running asyncio loop it runs in a thread of its own, outside of any transaction. Outside of transactions it
    waits for SQLite's write lock, and a broken connection is replaced once (the action may then have run twice).
    Raises :class:`TablesMissing` where migrations have not run.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _insist(alias, action)
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(_alone, alias, action).result()


def _alone(alias: str, action: Callable[[], T]) -> T:
    try:
        return _insist(alias, action)
    finally:
        connections[alias].close()


def _insist(alias: str, action: Callable[[], T]) -> T:
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    has_reconnected = False
    while True:
        try:
            return action()
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            if is_missing_table(error):
                raise TablesMissing(alias) from error
            if not has_reconnected and not is_usable(alias):
                has_reconnected = True
                continue
            if not _may_wait(connections[alias], error) or time.monotonic() > deadline:
                raise
        threading.Event().wait(random.uniform(0.02, 0.1))


def is_usable(alias: str) -> bool:
    """Whether this thread's connection works; a broken one is closed, so that the next use opens another.

    Nothing else would do that in a worker's main thread. Inside a transaction it is left to its owner.
    """
    connection = connections[alias]
    if connection.connection is None or connection.in_atomic_block or connection.is_usable():
        return True
    try:
        connection.close()
    except Error:
        connection.connection = None
    return False


def _may_wait(connection: BaseDatabaseWrapper, error: Exception) -> bool:
    return connection.vendor == "sqlite" and "locked" in str(error) and not connection.in_atomic_block


def private_connection(alias: str) -> BaseDatabaseWrapper:
    """A new connection that is nobody else's: outside of Django's pool, kept open, in autocommit."""
    connection = connections.create_connection(alias)
    settings = connection.settings_dict
    options = {key: value for key, value in settings.get("OPTIONS", {}).items() if key != "pool"}
    connection.settings_dict = {**settings, "OPTIONS": options, "CONN_MAX_AGE": None, "AUTOCOMMIT": True}
    return connection


class Store:
    """Statements on the messages of one alias, on the calling thread's connection; holds nothing."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.connection: BaseDatabaseWrapper = connections[alias]
        self.vendor = self.connection.vendor
        self.now, self.later = NOW[self.vendor], LATER[self.vendor]
        self.ready_row = (
            f"(taken_until IS NULL OR taken_until <= {self.now}) AND (expires_at IS NULL OR expires_at > {self.now})"
        )

    def put(self, routes: Sequence[tuple[str, float | None]], payload: str, *, priority: int) -> None:
        """Insert the message into each queue, to live for so many seconds (None: for ever), and wake who consumes it.

        Part of the caller's transaction if there is one; then the wake-up comes with its commit.
        """
        row = f"(%s, %s, %s, {self.now}, {self.later}, 0)"
        values = [value for queue, ttl in routes for value in (queue, priority, payload, ttl)]
        insert = (
            f"INSERT INTO {TABLE} (queue, priority, payload, created_at, expires_at, deliveries)"
            f" VALUES {', '.join([row] * len(routes))}"
        )
        self._and_notify(insert, values)

    def ready(self, conditions: Sequence[tuple[str, Sequence[Any]]]) -> list[bool]:
        """Which of these subqueries find a row: one statement that takes no lock."""
        columns = ", ".join(f"EXISTS({query})" for query, _ in conditions)
        values = [value for _, params in conditions for value in params]
        return [bool(answer) for answer in self.rows(f"SELECT {columns}", values)[0]]

    def is_ready(self, queue: str) -> tuple[str, Sequence[Any]]:
        """The subquery for :meth:`ready` that finds a message to take."""
        return f"SELECT 1 FROM {TABLE} WHERE queue = %s AND {self.ready_row}", [queue]

    def take(self, queue: str, limit: int, *, owner: uuid.UUID, lease: float) -> list[Taken]:
        """Hand out up to ``limit`` messages, best first, for ``lease`` seconds; nobody else gets them meanwhile."""
        pick = f"SELECT id FROM {TABLE} WHERE queue = %s AND {self.ready_row} ORDER BY priority DESC, id LIMIT {limit}"
        assign = f"UPDATE {TABLE} SET taken_by = %s, taken_until = {self.later}, deliveries = deliveries + 1"
        hand = [self.uuid(owner), lease]
        if self.vendor == "mysql":
            rows = self._take_by_lock(pick, assign, [queue], hand)
        else:
            inner = f"= ANY(ARRAY({pick} FOR UPDATE SKIP LOCKED))" if self.vendor == "postgresql" else f"IN ({pick})"
            rows = self.rows(f"{assign} WHERE id {inner} RETURNING id, priority, payload, deliveries", [*hand, queue])
        return sorted((Taken(*row) for row in rows), key=lambda taken: (-taken.priority, taken.id))

    def _take_by_lock(self, pick: str, assign: str, queue: list[str], hand: list[Any]) -> list[tuple[Any, ...]]:
        with transaction.atomic(using=self.alias):
            ids = [row[0] for row in self.rows(f"{pick} FOR UPDATE SKIP LOCKED", queue)]
            if not ids:
                return []
            self.execute(f"{assign} WHERE id IN ({marks(ids)})", [*hand, *ids])
            return self.rows(
                f"SELECT id, priority, payload, deliveries FROM {TABLE} WHERE id IN ({marks(ids)})",
                ids,
            )

    def delete(self, ids: Sequence[int], owner: uuid.UUID) -> int:
        """Acknowledge: the messages are gone, except those that were given to somebody else meanwhile."""
        return self.execute(
            f"DELETE FROM {TABLE} WHERE id IN ({marks(ids)}) AND taken_by = %s",
            [*ids, self.uuid(owner)],
        )

    def renew(self, ids: Sequence[int], *, owner: uuid.UUID, lease: float) -> int:
        """Keep them in hand for another ``lease`` seconds."""
        return self.execute(
            f"UPDATE {TABLE} SET taken_until = {self.later} WHERE id IN ({marks(ids)}) AND taken_by = %s",
            [lease, *ids, self.uuid(owner)],
        )

    def release(self, ids: Sequence[int], owner: uuid.UUID) -> None:
        """Give back: they are handed out again at once, in their old place."""
        self._and_notify(
            f"UPDATE {TABLE} SET taken_by = NULL, taken_until = NULL WHERE id IN ({marks(ids)}) AND taken_by = %s",
            [*ids, self.uuid(owner)],
        )

    def release_others(self, kept: Sequence[int], owner: uuid.UUID) -> None:
        """Give back what this owner took but does not know of: the connection broke before the answer came."""
        besides = f" AND id NOT IN ({marks(kept)})" if kept else ""
        self._and_notify(
            f"UPDATE {TABLE} SET taken_by = NULL, taken_until = NULL WHERE taken_by = %s{besides}",
            [self.uuid(owner), *kept],
        )

    def size(self, queue: str) -> int:
        """How many messages wait in the queue; those in hand do not count."""
        return int(self.rows(f"SELECT COUNT(*) FROM {TABLE} WHERE queue = %s AND {self.ready_row}", [queue])[0][0])

    def purge(self, queue: str) -> int:
        """Delete what waits in the queue; how many."""
        return self.execute(f"DELETE FROM {TABLE} WHERE queue = %s AND {self.ready_row}", [queue])

    def sweep(self) -> int:
        """Delete messages past their time that nobody has in hand."""
        return self.execute(
            f"DELETE FROM {TABLE} WHERE expires_at <= {self.now} AND (taken_until IS NULL OR taken_until <= {self.now})"
        )

    def execute(self, statement: str, params: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it touched."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, list(params))
            return int(cursor.rowcount)

    def uuid(self, value: uuid.UUID) -> Any:
        """A UUID as this database stores it."""
        if self.vendor == "postgresql":
            return value
        return str(value) if self.connection.features.has_native_uuid_field else value.hex

    def rows(self, statement: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a query; its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, list(params))
            return list(cursor.fetchall())

    def _and_notify(self, statement: str, params: Sequence[Any]) -> None:
        if self.vendor != "postgresql":
            self.execute(statement, params)
            return
        # One round trip; a queue is named once, and PostgreSQL delivers with the commit.
        self.rows(
            f"WITH done AS ({statement} RETURNING queue)"
            f" SELECT pg_notify('{CHANNEL}', queue) FROM (SELECT DISTINCT queue FROM done) AS queues",
            params,
        )
