"""Waking agents when there is work: NOTIFY on PostgreSQL, an event within the process everywhere.

A wake-up is a hint. Who misses it finds the work by polling, so nothing depends on one.
NOTIFY takes a lock that serialises commits, so it is sent after the caller's transaction, and at most a few times a
second per process.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError, InterfaceError, connections

from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: Rows were written that a feeder may take.
WORK_WRITTEN = "taskyard_work"
#: Rows were queued that a worker on the database broker may take.
WORK_QUEUED = "taskyard_take"

#: Shortest time between two notifications of one process on one channel.
PAUSE_SECONDS = 0.05
#: How long a new connection is given to hear its own notification; behind PgBouncer in transaction mode it never does.
_PROBE_SECONDS = 2.0

#: Seconds between two looks at SQLite's count of commits: after work, and when idle.
_SQLITE_LOOKS = (0.01, 0.08)

_events: dict[str, threading.Event] = {}
_sent: dict[str, float] = {}


def local_event(channel: str) -> threading.Event:
    """The event of a channel in this process."""
    return _events.setdefault(channel, threading.Event())


def wake(channel: str) -> None:
    """Tell whoever listens, in this process at once and in others soon; never fails.

    Called after a commit, on the caller's own connection: no thread, no connection of its own. Who wakes stays awake
    for longer than the pause between two notifications, so the last enqueue of a burst is found as well.
    """
    local_event(channel).set()
    connection = connections[get_settings().database]
    clock = time.monotonic()
    if (
        connection.vendor != "postgresql"
        or connection.in_atomic_block
        or clock - _sent.get(channel, 0.0) < PAUSE_SECONDS
    ):
        return
    _sent[channel] = clock
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [channel])
    except (DatabaseError, InterfaceError) as error:
        logger.debug("notification not sent, pollers will find the work: %s", error)


class Listener:
    """Waits for wake-ups on channels; used by one thread.

    ``is_deaf`` tells that notifications do not arrive here (another database, PgBouncer in transaction mode), so that
    the caller polls more often.
    """

    def __init__(self, *channels: str) -> None:
        self.channels = channels
        self._raw: Any = None
        self._next_try = 0.0
        self._version: int | None = None
        self.is_deaf = True
        # Readable once somebody wants its thread: nobody wakes up only to look whether that is so.
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Return when woken, when ``stop`` is set, or after ``seconds``."""
        if connections[get_settings().database].vendor == "sqlite":
            self.is_deaf = False
            self._wait_for_a_commit(seconds, stop)
            return
        deadline = time.monotonic() + seconds
        raw = self._connection()
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if raw is None:
                if local_event(self.channels[0]).wait(min(left, 0.25)):
                    local_event(self.channels[0]).clear()
                    return
            elif self._heard(raw, left):
                return

    def _wait_for_a_commit(self, seconds: float, stop: threading.Event) -> None:
        # SQLite counts the commits of other connections; asking costs a few microseconds and takes no lock.
        deadline = time.monotonic() + seconds
        connection = connections[get_settings().database]
        connection.ensure_connection()
        pause = _SQLITE_LOOKS[0]
        while not stop.is_set():
            seen = connection.connection.execute("PRAGMA data_version").fetchone()[0]
            # Compared with what was seen before the caller's last look, so that no commit falls between.
            is_new, self._version = seen != self._version, seen
            if is_new or time.monotonic() >= deadline:
                return
            stop.wait(pause)
            pause = min(pause * 1.2, _SQLITE_LOOKS[1])

    def interrupt(self) -> None:
        """End a wait, now or the next one; from any thread."""
        with contextlib.suppress(OSError):
            self._rope.send(b".")

    def close(self) -> None:
        """Give the connection back."""
        self._hang_up()
        self._bell.close()
        self._rope.close()

    def _hang_up(self) -> None:
        if self._raw is not None:
            with contextlib.suppress(Exception):
                self._raw.close()
            self._raw = None

    def _heard(self, raw: Any, seconds: float) -> bool:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(raw.fileno(), selectors.EVENT_READ)
                selector.register(self._bell, selectors.EVENT_READ)
                readable = {key.fileobj for key, _ in selector.select(seconds)}
            if self._bell in readable:
                self._bell.recv(64)
                return True
            # What came may be the end of the connection.
            return bool(readable) and any(True for _ in raw.notifies(timeout=0, stop_after=1))
        except Exception as error:  # any driver error means the same: listen anew, poll meanwhile
            logger.debug("listening again: %s", error)
            self._hang_up()
            self.is_deaf = True
            return True

    def _connection(self) -> Any:
        if self._raw is not None or time.monotonic() < self._next_try:
            return self._raw
        self._next_try = time.monotonic() + 10.0
        wrapper = connections[get_settings().database]
        if wrapper.vendor == "postgresql" and _driver_is_psycopg3(wrapper):
            self._raw = self._listen(wrapper)
            self.is_deaf = self._raw is None
        return self._raw

    def _listen(self, wrapper: Any) -> Any:
        raw = None
        try:
            raw = wrapper.get_new_connection(wrapper.get_connection_params())
            raw.autocommit = True
            for channel in self.channels:
                raw.execute(f'LISTEN "{channel}"')
            with _probing(wrapper, raw, self.channels[0]):
                if any(True for _ in raw.notifies(timeout=_PROBE_SECONDS, stop_after=1)):
                    return raw
            logger.info("notifications do not arrive (a pooler in transaction mode?); polling instead")
        except Exception as error:  # as above
            logger.debug("cannot listen: %s", error)
        if raw is not None:
            with contextlib.suppress(Exception):
                raw.close()
        # Behind a pooler nothing will change soon.
        self._next_try = time.monotonic() + 300.0
        return None


@contextlib.contextmanager
def _probing(wrapper: Any, raw: Any, channel: str) -> Iterator[None]:
    # The probe is sent on another connection: a pooler may answer on the same one by chance.
    probe = wrapper.get_new_connection(wrapper.get_connection_params())
    try:
        probe.autocommit = True
        probe.execute("SELECT pg_notify(%s, '')", [channel])
        yield
    finally:
        probe.close()


def _driver_is_psycopg3(wrapper: Any) -> bool:
    return getattr(wrapper.Database, "__name__", "") == "psycopg"
