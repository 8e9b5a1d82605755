"""Database connections between jobs: kept, and checked before use.

Celery closes every connection around every task, which on PostgreSQL means a new one for each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from functools import cached_property
from typing import Any

from celery import signals
from celery.fixups.django import DjangoFixup, DjangoWorkerFixup
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction

from taskyard.settings import get_settings
from taskyard.tenancy.aliases import opened_here

logger = logging.getLogger(__name__)

#: A connection unused for this long is asked whether it still lives before a task gets it.
_CHECK_AFTER_SECONDS = 10.0
#: Below the four seconds after which Celery kills a child that does not come up.
_FIRST_WRITE_MILLISECONDS = 2000

_last_used = threading.local()


def keep_healthy(*, after_job: bool = False) -> None:
    """Before a job: no stale connection reaches it. After: broken ones go; all, with ``CLOSE_CONNECTIONS``."""
    close_all = after_job and get_settings().close_connections
    idle_seconds = time.monotonic() - getattr(_last_used, "at", float("-inf"))
    for connection in opened_here():
        if connection.in_atomic_block:
            continue
        if close_all or _is_stale(connection, ask=not after_job and idle_seconds > _CHECK_AFTER_SECONDS):
            with contextlib.suppress(DatabaseError, InterfaceError):
                connection.close()
        else:
            # CONN_MAX_AGE speaks of web requests; here the connection lives as long as it is healthy.
            connection.close_at = None
    _last_used.at = time.monotonic()


def _is_stale(connection: object, *, ask: bool) -> bool:
    if connection.connection is None:  # type: ignore[attr-defined]
        return False
    if connection.errors_occurred or ask:  # type: ignore[attr-defined]
        connection.errors_occurred = False  # type: ignore[attr-defined]
        return not connection.is_usable()  # type: ignore[attr-defined]
    return False


def open_blocks() -> frozenset[str]:
    """Aliases that are within ``atomic()`` here."""
    return frozenset(one.alias for one in opened_here() if one.in_atomic_block)


def discard_left_open(before: frozenset[str] = frozenset()) -> None:
    """Close what a task left in a transaction: nothing written there would ever be committed.

    One opened by hand, or an ``atomic()`` that was entered and not left, which is none of ``before``.
    """
    for connection in opened_here():
        if connection.connection is None or connection.alias in before:
            continue
        if connection.in_atomic_block:
            logger.warning("A task left a transaction on %r open; what it wrote there is undone.", connection.alias)
            # Or Django would keep the connection, for the end of that transaction.
            connection.in_atomic_block, connection.savepoint_ids, connection.run_on_commit = False, [], []
            connection.close()
        elif not connection.get_autocommit():
            connection.close()


def reset_broken() -> None:
    """Close what failed, so that the next statement opens a new connection."""
    for connection in opened_here():
        if not connection.in_atomic_block:
            with contextlib.suppress(DatabaseError, InterfaceError):
                connection.close()


def fixup(app: Any, env: str = "DJANGO_SETTINGS_MODULE") -> Any:
    """Install it where a settings module is named, as Celery's own does."""
    if not os.environ.get(env):
        return None
    return JobFixup(app).install()


class JobFixup(DjangoFixup):
    """Discovers tasks, checks models, makes connections fork-safe; connections live on between jobs."""

    @cached_property
    def worker_fixup(self) -> DjangoWorkerFixup:
        """Made when asked for: it reads the configuration, which a project sets after making its app."""
        return JobWorkerFixup(self.app)


class JobWorkerFixup(DjangoWorkerFixup):
    """Closes inherited connections in a new child; after jobs :func:`keep_healthy` decides."""

    def install(self) -> DjangoWorkerFixup:
        """Connect to the worker's signals."""
        signals.beat_embedded_init.connect(self.close_database)
        signals.worker_process_init.connect(self.on_worker_process_init)
        self._close_database()
        self.close_cache()
        return self

    def on_worker_process_init(self, **kwargs: Any) -> None:
        """Closes what was inherited; a child that was forked at the wrong moment ends, and the pool forks another."""
        super().on_worker_process_init(**kwargs)
        if not can_write(get_settings().database):
            logger.warning("this child was forked while its parent was writing to SQLite; another one takes its place")
            os._exit(1)


def can_write(alias: str) -> bool:
    """Whether this process can take SQLite's write lock within two seconds; True for other databases.

    SQLite keeps the locks of a process in its memory, too. A child that was forked while a thread of its parent held
    the write lock takes it for held, for ever: it would claim nothing and keep its slot.
    """
    connection = connections[alias]
    if connection.vendor != "sqlite":
        return True
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {_FIRST_WRITE_MILLISECONDS}")
        with transaction.atomic(using=alias):
            return True
    except OperationalError:
        return False
    finally:
        connection.close()
