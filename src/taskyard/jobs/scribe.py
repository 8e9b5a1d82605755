"""Writes what running jobs report, and asks whether they may go on, off the task's own thread and connection.

A task may sit in a transaction of its own for minutes; its progress must be visible meanwhile, so it goes through
another connection. On SQLite a second connection cannot write while the task holds the write lock: there the report
waits for it, and lands with the settle at the latest.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError, connections

from taskyard.jobs.rows.sql import Sql
from taskyard.settings import get_settings

if TYPE_CHECKING:
    from taskyard.jobs.running import RunningJob

logger = logging.getLogger(__name__)

#: The thread ends after this long without a running job to watch; the next report starts it again.
_IDLE_SECONDS = 30.0


class Scribe:
    """One thread per process that needs it."""

    def __init__(self) -> None:
        self.jobs: weakref.WeakSet[RunningJob] = weakref.WeakSet()
        #: When each is to be written next: a job that comes along must not make the others write more often.
        self._due: weakref.WeakKeyDictionary[RunningJob, float] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closing = False

    def watch(self, job: RunningJob) -> None:
        """Write the job's report within one interval, and ask about it."""
        if job in self.jobs:
            return
        with self._lock:
            self.jobs.add(job)
            if self._thread is None or not self._thread.is_alive():
                self._is_closing = False
                self._thread = threading.Thread(target=self._run, name="taskyard-scribe", daemon=True)
                self._thread.start()
        self._wake.set()

    def forget(self, job: RunningJob) -> None:
        """Stop: the attempt is over and its settle takes along what is not written yet."""
        with self._lock:
            self.jobs.discard(job)

    def close(self, timeout: float = 5.0) -> None:
        """End the thread if no job runs: in a process that is no worker its connection is in the way of others."""
        with self._lock:
            thread, self._is_closing = self._thread, True
            if thread is None or self.jobs:
                return
        self._wake.set()
        thread.join(timeout)

    def flush(self, job: RunningJob) -> None:
        """Write and ask now, from a thread of its own, and wait for it."""
        # It counts as this interval's turn.
        self._due[job] = time.monotonic() + get_settings().progress_interval.total_seconds()
        done = threading.Thread(target=self._write_and_close, args=(job,), name="taskyard-flush", daemon=True)
        done.start()
        done.join()

    def _write_and_close(self, job: RunningJob) -> None:
        try:
            self._write(job)
        finally:
            connections.close_all()

    def _run(self) -> None:
        interval = get_settings().progress_interval.total_seconds()
        idle_since = time.monotonic()
        while True:
            with self._lock:
                jobs = list(self.jobs)
                if not jobs and (self._is_closing or time.monotonic() - idle_since > _IDLE_SECONDS):
                    self._thread = None
                    break
            for job in jobs:
                idle_since = time.monotonic()
                if self._due.get(job, 0.0) <= idle_since:
                    self._due[job] = idle_since + interval
                    self._write(job)
            pause = min((self._due[job] for job in jobs), default=time.monotonic() + _IDLE_SECONDS) - time.monotonic()
            self._wake.wait(max(0.0, pause))
            self._wake.clear()
        connections.close_all()

    def _write(self, job: RunningJob) -> None:
        # One writer at a time: who flushes must not return while another thread still carries the values.
        with job.writing:
            self._write_alone(job)

    def _write_alone(self, job: RunningJob) -> None:
        values = job.take_dirty()
        try:
            answer = _report(Sql(get_settings().database), job, values)
        except (DatabaseError, InterfaceError) as error:
            # Locked, restarted, gone: the report is kept and written at the next turn or by the settle.
            logger.debug("report of job %s waits: %s", job.id, error)
            job.put_back(values)
            with contextlib.suppress(DatabaseError, InterfaceError):
                connections[get_settings().database].close()
            return
        job.written(values)
        job.heard(owned=answer is not None, cancelled=answer is not None and answer[0] is not None)


def _report(sql: Sql, job: RunningJob, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    if not values:
        rows = sql.query(
            "SELECT cancel_requested_at FROM taskyard_job WHERE id = %s AND claim = %s AND state = 'running'",
            [sql.uuid(job.id), job.token],
        )
        return rows[0] if rows else None
    assign = ", ".join(f"{name} = %s" for name in values)
    stored = [sql.time(v) if isinstance(v, dt.datetime) else v for v in values.values()]
    guard = "claim = %s AND state = 'running'"
    return sql.change(job.id, assign, guard, [*stored, job.token], returning="cancel_requested_at", weak=True)


class _Here(Scribe):
    """Writes on the caller's own connection, as often as the other does: no thread."""

    def watch(self, job: RunningJob) -> None:
        interval, now = get_settings().progress_interval.total_seconds(), time.monotonic()
        if self._due.setdefault(job, now + interval) <= now:
            self._due[job] = now + interval
            self._write(job)

    def forget(self, job: RunningJob) -> None:
        self._due.pop(job, None)

    def flush(self, job: RunningJob) -> None:
        self._write(job)


_scribe = Scribe()
_here: ContextVar[Scribe | None] = ContextVar("taskyard_scribe_here", default=None)


@contextlib.contextmanager
def reporting_here() -> Iterator[None]:
    """Jobs that run within report on the connection they run on: no other one sees rows that are not committed."""
    token = _here.set(_Here())
    try:
        yield
    finally:
        _here.reset(token)


def scribe() -> Scribe:
    """This process's scribe; a fork gets a new one."""
    if (here := _here.get()) is not None:
        return here
    return _scribe


def _begin_anew() -> None:
    global _scribe
    # The thread is not in the child, and what its locks were held by is not either.
    jobs, _scribe = list(_scribe.jobs), Scribe()
    for job in jobs:
        job.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)
