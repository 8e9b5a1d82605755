"""A worker's last seconds: what runs may end within the grace period, what does not goes back to the table."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.worker import state as worker_state
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from taskyard.celery.worker.settler import Death, is_gone, settler
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.runtime.heartbeat import Heartbeat
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: How long children may take to end by themselves once nothing runs in them, and to disappear when they are killed.
_PATIENCE_SECONDS = 2.0
_LONGEST_DEATH_SECONDS = 5.0
#: Calls shown of where the main thread stands when it is left behind.
_SHOWN_CALLS = 12
#: How long Celery may take to say goodbye to its broker, and then to end, once its pool has no children any more.
_LONGEST_GOODBYE_SECONDS = 3.0
_LONGEST_EXIT_SECONDS = 7.0


class Grace:
    """Bounds a shutdown, in a thread of its own; ``children`` are the pool's processes, none for pools without any.

    What runs is told from the rows as well as from Celery's requests: when a worker stops, Celery's pool forgets what
    it has handed over a moment ago, and the child, which ran it, then waits half a minute for its answer to be heard
    (celery 5.7, ``AsynPool.flush``; billiard 4.2, ``Worker._ensure_messages_consumed``). Where a child was killed in
    the middle of an answer, its parent waits for the rest for ever (``ResultHandler._flush_outqueue``): then
    ``leave`` is called, and the process ends without Celery.

    A broker that says nothing is not waited for either: Celery would, in a warm shutdown, for the answer to each
    consumer it cancels (amqp 5.3, ``Channel.basic_cancel``). ``hang_up`` ends the connections to it.
    """

    def __init__(
        self, heartbeat: Heartbeat, children: Callable[[], list[int]], *, hang_up: Callable[[], None],
        leave: Callable[[], None],
    ) -> None:  # fmt: skip
        self.heartbeat, self.children, self.hang_up, self.leave = heartbeat, children, hang_up, leave
        self._is_through = threading.Event()
        self._first: list[int] = []
        self._thread = threading.Thread(target=self._run, name="taskyard-grace", daemon=True)

    def begin(self) -> None:
        """In a signal handler: nothing here may wait."""
        self._first = self.children()
        self._thread.start()

    def finish(self) -> None:
        """Celery is through: what is given back is known to the settler when this returns."""
        self._is_through.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_SECONDS + _LONGEST_DEATH_SECONDS)

    def _run(self) -> None:
        with contextlib.suppress(DatabaseError, InterfaceError):
            self.heartbeat.announce_stop(timezone.now())
        deadline = time.monotonic() + get_settings().shutdown_grace.total_seconds()
        while time.monotonic() < deadline and self._is_busy():
            threading.Event().wait(0.05)
        told = {getattr(request, "token", None) for request in tuple(worker_state.active_requests)}
        for request in tuple(worker_state.active_requests):
            give_back(request)
        # The pool forgets those that ended, and may have made others.
        children = list({*self._first, *self.children()})
        if not children and self._is_busy():
            # Threads cannot be ended, and Celery waits for them.
            connections.close_all()
            return
        if _end(children):
            for job_id, token in self._running():
                if token not in told:
                    error = WorkerLostError("given back at shutdown")
                    settler().submit(Death(job_id, token, None, error, is_released=True))
        connections.close_all()
        self._see_it_through()

    def _see_it_through(self) -> None:
        if self._is_through.wait(_LONGEST_GOODBYE_SECONDS):
            return
        self.hang_up()
        if not self._is_through.wait(_LONGEST_EXIT_SECONDS):
            logger.critical("the worker does not come to an end; leaving. It stands at:\n%s", _main_stack())
            self.leave()
            os._exit(1)

    def _is_busy(self) -> bool:
        return bool(worker_state.active_requests) or bool(self._running())

    def _running(self) -> list[tuple[uuid.UUID, int]]:
        sql = Sql(get_settings().database)
        try:
            rows = sql.query(
                f"SELECT id, claim FROM {TABLE} WHERE lane = 2 AND state = 'running' AND worker = %s",
                [sql.uuid(self.heartbeat.worker)],
            )
        except (DatabaseError, InterfaceError) as error:
            logger.warning("what still runs here cannot be told: %s", error)
            sql.connection.close()
            return []
        return [(sql.read_uuid(job_id), token) for job_id, token in rows]


def _main_stack() -> str:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return "".join(traceback.format_stack(frame)[-_SHOWN_CALLS:])


def _end(children: list[int]) -> bool:
    """See to it that none of them is left; whether that is so."""
    if not _wait_for(children, _PATIENCE_SECONDS):
        # Never one that is gone: its number may be somebody else's by now.
        for pid in (child for child in children if not is_gone(child)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return _wait_for(children, _LONGEST_DEATH_SECONDS)


def _wait_for(children: list[int], seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while not all(map(is_gone, children)):
        if time.monotonic() > give_up:
            return False
        threading.Event().wait(0.02)
    return True


def give_back(request: Any) -> None:
    """End a running job's child and return the job to the table, without spending an attempt."""
    if not hasattr(request, "job_ids") or request.worker_pid in (None, os.getpid()):
        return
    request.is_released = True
    logger.warning("%s[%s] is given back: the worker stops", request.name, request.id)
    error = WorkerLostError("given back at shutdown")
    for job_id in request.job_ids:
        settler().submit(Death(job_id, request.token, request.worker_pid, error, is_released=True))
    with contextlib.suppress(ProcessLookupError):
        os.kill(request.worker_pid, signal.SIGKILL)
