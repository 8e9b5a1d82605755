"""A worker in a thread of a process that does something else as well: a test."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import signals
from celery._state import _set_task_join_will_block
from celery.worker import WorkController
from celery.worker import state as worker_state
from django.db import connections

from taskyard.celery.application import get_app
from taskyard.celery.broker.poller import poller_for
from taskyard.celery.worker.step import JobStep
from taskyard.errors import TaskyardError
from taskyard.settings import get_settings

#: How long it may take to come up, and to end beyond the job it is running.
_PATIENCE_SECONDS = 20.0


@contextmanager
def embedded_worker(queues: Sequence[str] = ()) -> Iterator[None]:
    """Within, a worker with the solo pool consumes; the job that runs at the end is waited for.

    One at a time in a process: Celery keeps what a worker knows in module variables.
    """
    started = _Embedded(queues)
    started.start()
    try:
        started.await_ready()
        yield
    finally:
        started.stop()


class _Embedded(threading.Thread):
    def __init__(self, queues: Sequence[str]) -> None:
        super().__init__(name="taskyard-embedded", daemon=True)
        self.queues = list(queues)
        self.worker: Any = None
        self.error: BaseException | None = None
        self._is_ready, self._is_through = False, threading.Event()

    def run(self) -> None:
        """Until :meth:`stop`."""
        app = get_app()
        consumed = app.amqp.queues._consume_from
        try:
            self.worker = WorkController(
                app=app, pool="solo", concurrency=1, hostname=f"test-{os.getpid()}@localhost",
                queues=self.queues or None, ready_callback=self._ready, without_mingle=True,
                without_gossip=True, without_heartbeat=True,
            )  # fmt: skip
            self.worker.start()
        except Exception as error:
            self.error = error
        finally:
            # The app's own choice again.
            app.amqp.queues._consume_from = consumed
            self._is_through.set()
            connections.close_all()

    def _ready(self, consumer: Any) -> None:
        self._is_ready = True
        self._is_through.set()

    def await_ready(self) -> None:
        """Until it consumes."""
        self._is_through.wait(_PATIENCE_SECONDS)
        if not self._is_ready:
            raise TaskyardError("The worker did not come up; its log says why.") from self.error
        # The solo pool takes this process for one whose only thread it has: the test's own may wait for results.
        _set_task_join_will_block(False)

    def stop(self) -> None:
        """As SIGTERM does, but for the grace period, which ends with a process."""
        worker_state.should_stop = 0
        try:
            self.join(_PATIENCE_SECONDS)
        finally:
            worker_state.should_stop = None
            for step in getattr(self.worker, "steps", ()):
                if isinstance(step, JobStep):
                    signals.worker_shutting_down.disconnect(step.begin_grace)
                    signals.worker_shutdown.disconnect(step._on_shutdown)
            # Its connection would keep a test database from being dropped.
            poller_for(get_settings().database).stop()
            # What the worker took out of the collections, for as long as its process was to live.
            gc.unfreeze()
        if self.is_alive():
            raise TaskyardError("The worker did not come to an end: does the job it runs wait for something?")
