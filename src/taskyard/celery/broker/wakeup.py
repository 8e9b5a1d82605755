"""How a poller learns of new messages: notifications on PostgreSQL, the data version on SQLite, else short pauses."""

from __future__ import annotations

import logging
import select
import time
import uuid
from collections.abc import Collection
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import DatabaseError, InterfaceError

from taskyard.celery.broker import store
from taskyard.celery.broker.intake import Bell
from taskyard.runtime.wakeup import PAUSE_SECONDS, WORK_QUEUED

logger = logging.getLogger(__name__)

_SHORTEST_PAUSE, _GROWTH = 0.02, 1.5
#: How long a new connection may take to hear of a notification sent over another one.
_PROBE_SECONDS = 2.0


class Pauses:
    """Adaptive polling: 20 ms after there was work, growing to 200 ms."""

    longest = 0.2

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self.pause = _SHORTEST_PAUSE

    def mark(self) -> None:
        """Called before the database is read: what changes after this must end the next wait."""

    def found(self) -> None:
        """There was work; more is likely."""
        self.pause = _SHORTEST_PAUSE

    def wait(self, seconds: float, queues: Collection[str]) -> None:
        """Return when one of ``queues`` may have something, the bell rang, or ``seconds`` are over."""
        self.bell.wait(min(self.pause, seconds))
        self.pause = min(self.pause * _GROWTH, self.longest)


class DataVersion(Pauses):
    """On SQLite: asks, without a query or a lock, whether another connection has written."""

    longest = 0.1  # asking costs 20 microseconds

    def __init__(self, connection: BaseDatabaseWrapper, bell: Bell) -> None:
        super().__init__(bell)
        self._raw = connection.connection
        self._wrap = connection.wrap_database_errors
        self._version = self._read()

    def mark(self) -> None:
        self._version = self._read()

    def wait(self, seconds: float, queues: Collection[str]) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.bell.wait(min(self.pause, left)) or self._read() != self._version:
                return
            self.pause = min(self.pause * _GROWTH, self.longest)

    def _read(self) -> int:
        with self._wrap:
            return int(self._raw.execute("PRAGMA data_version").fetchone()[0])


class Notifications(Pauses):
    """On PostgreSQL: LISTEN on the poller's own connection, and a wait on its socket."""

    def __init__(self, connection: BaseDatabaseWrapper, bell: Bell) -> None:
        super().__init__(bell)
        self._wrap = connection.wrap_database_errors
        self._raw: Any = connection.connection
        self._heard: list[str] = []
        self._awake_until = 0.0
        # Notifications that arrive during a statement come this way.
        self._raw.add_notify_handler(lambda notice: self._heard.append(notice.payload))
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {store.CHANNEL}")
            cursor.execute(f"LISTEN {WORK_QUEUED}")

    def found(self) -> None:
        # Notifications of jobs are coalesced: for one that was sent, others within the pause were not.
        self._awake_until = time.monotonic() + 2.5 * PAUSE_SECONDS

    def wait(self, seconds: float, queues: Collection[str]) -> None:
        now = time.monotonic()
        deadline = now + (min(seconds, PAUSE_SECONDS) if now < self._awake_until else seconds)
        while not self._is_for(queues) and (left := deadline - time.monotonic()) > 0:
            readable = select.select([self._raw.fileno(), self.bell], [], [], left)[0]
            self._read()
            if self.bell in readable:
                self.bell.clear()
                return

    def answers(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether a notification sent over another connection arrives: through some poolers it does not."""
        token = uuid.uuid4().hex
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, %s)", [store.CHANNEL, token])
        finally:
            other.close()
        deadline = time.monotonic() + _PROBE_SECONDS
        while token not in self._heard and (left := deadline - time.monotonic()) > 0:
            select.select([self._raw.fileno()], [], [], left)
            self._read()
        has_arrived = token in self._heard
        # Whatever else came meanwhile: the poller is about to look anyway.
        self._heard.clear()
        return has_arrived

    def _is_for(self, queues: Collection[str]) -> bool:
        heard, self._heard[:] = list(self._heard), []
        if "" in heard:
            self.found()
        return any(queue in queues or not queue for queue in heard)

    def _read(self) -> None:
        with self._wrap:
            self._raw.pgconn.consume_input()
            while notice := self._raw.pgconn.notifies():
                self._heard.append(notice.extra.decode("utf-8", "replace"))


def for_connection(connection: BaseDatabaseWrapper, bell: Bell) -> Pauses:
    """The best way to wait that works on this connection."""
    if connection.vendor == "sqlite":
        return DataVersion(connection, bell)
    if connection.vendor == "postgresql" and _uses_psycopg3(connection):
        return _listening(connection, bell) or Pauses(bell)
    return Pauses(bell)


def _listening(connection: BaseDatabaseWrapper, bell: Bell) -> Notifications | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        server_pid = cursor.fetchone()[0]
    if server_pid != connection.connection.info.backend_pid:
        # A pooler stands between; LISTEN would land on a server connection that is somebody else's in a moment.
        logger.info("Database broker: connected through a pooler, polling instead of listening.")
        return None
    notifications = Notifications(connection, bell)
    try:
        if notifications.answers(connection):
            return notifications
    except (DatabaseError, InterfaceError) as error:
        logger.debug("Database broker: could not try notifications: %s", error)
        return None
    logger.info("Database broker: notifications do not arrive, polling instead.")
    return None


def _uses_psycopg3(connection: BaseDatabaseWrapper) -> bool:
    return type(connection.connection).__module__.split(".")[0] == "psycopg"
