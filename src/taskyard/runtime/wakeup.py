"""Waking agents when there is work: NOTIFY on PostgreSQL, an event within the process everywhere.

A wake-up is a hint. Who misses it finds the work by polling, so nothing depends on one.
NOTIFY takes a lock that serialises commits, so it is never sent in the caller's transaction, and at most a few times
a second per process.
"""

from __future__ import annotations

import contextlib
import logging
import os
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

#: Shortest time between two notifications of one process.
_PAUSE_SECONDS = 0.02
#: How long a new connection is given to hear its own notification; behind PgBouncer in transaction mode it never does.
_PROBE_SECONDS = 2.0

_events: dict[str, threading.Event] = {}


def local_event(channel: str) -> threading.Event:
    """The event of a channel in this process."""
    return _events.setdefault(channel, threading.Event())


def wake(channel: str) -> None:
    """Tell whoever listens, in this process at once and in others soon; returns at once and never fails."""
    local_event(channel).set()
    if connections[get_settings().database].vendor == "postgresql":
        notifier().ask(channel)


class Notifier:
    """Sends coalesced NOTIFYs from a thread and connection of its own, made when first needed."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._asked: set[str] = set()
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self, channel: str) -> None:
        """Send a NOTIFY soon."""
        with self._lock:
            self._asked.add(channel)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="taskyard-notify", daemon=True)
                self._thread.start()
        self._ready.set()

    def _run(self) -> None:
        while self._ready.wait(timeout=30.0):
            self._ready.clear()
            with self._lock:
                channels, self._asked = self._asked, set()
            self._send(channels)
            threading.Event().wait(_PAUSE_SECONDS)
        connections.close_all()

    def _send(self, channels: set[str]) -> None:
        connection = connections[get_settings().database]
        try:
            with connection.cursor() as cursor:
                for channel in sorted(channels):
                    cursor.execute("SELECT pg_notify(%s, '')", [channel])
        except (DatabaseError, InterfaceError) as error:
            logger.debug("notification not sent, pollers will find the work: %s", error)
            with contextlib.suppress(DatabaseError, InterfaceError):
                connection.close()


_notifier = Notifier()


def notifier() -> Notifier:
    """This process's notifier; a fork gets a new one."""
    global _notifier
    if _notifier.pid != os.getpid():
        _notifier = Notifier()
        _events.clear()
    return _notifier


class Listener:
    """Waits for wake-ups on channels; used by one thread.

    ``is_deaf`` tells that notifications do not arrive here (another database, PgBouncer in transaction mode), so that
    the caller polls more often.
    """

    def __init__(self, *channels: str) -> None:
        self.channels = channels
        self._raw: Any = None
        self._next_try = 0.0
        self.is_deaf = True

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Return when woken, when ``stop`` is set, or after ``seconds``."""
        deadline = time.monotonic() + seconds
        raw = self._connection()
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if raw is None:
                if local_event(self.channels[0]).wait(min(left, 0.25)):
                    local_event(self.channels[0]).clear()
                    return
            elif self._heard(raw, min(left, 0.25)):
                return

    def close(self) -> None:
        """Give the connection back."""
        if self._raw is not None:
            with contextlib.suppress(Exception):
                self._raw.close()
            self._raw = None

    def _heard(self, raw: Any, seconds: float) -> bool:
        try:
            return any(True for _ in raw.notifies(timeout=seconds, stop_after=1))
        except Exception as error:  # any driver error means the same: listen anew, poll meanwhile
            logger.debug("listening again: %s", error)
            self.close()
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
