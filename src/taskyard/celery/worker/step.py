"""What a worker's main process does beside consuming: heartbeat, agents, a bounded shutdown, early acknowledging."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from billiard.exceptions import WorkerLostError
from celery import bootsteps, signals
from celery.worker import state as worker_state
from django.db import DatabaseError, connections

from taskyard.celery.agents import build_agents
from taskyard.celery.worker.settler import Death, settler
from taskyard.jobs.sql import Sql
from taskyard.runtime import identity
from taskyard.runtime.heartbeat import Heartbeat
from taskyard.runtime.loop import Agent, Loop, stop_all
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: How often a worker looks for jobs that run long.
_EVERY_SECONDS = 5.0
#: How often the pool looks for children that ended. Their closing pipes tell it at once, but often a moment before they
#: can be reaped, and Celery's own second look comes after five seconds.
_LOOK_FOR_ENDED_CHILDREN_SECONDS = 1.0


class JobStep(bootsteps.StartStopStep):
    """Starts after the pool, so that its children are forked before there are threads."""

    requires: ClassVar[tuple[str, ...]] = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.loops: list[Loop] = []
        self.heartbeat: Heartbeat | None = None

    def start(self, parent: Any) -> None:
        """Register the worker and start its threads."""
        owner = identity.renew()
        # The pool's children of this worker were forked with the old id; the id travels with each delivery.
        self.heartbeat = Heartbeat(
            owner, name=parent.hostname, queues=_logical_queues(parent.app), slots=_slots(parent),
            children=lambda: _children(parent),
        )  # fmt: skip
        self.heartbeat.register()
        connections.close_all()
        agents: list[Agent] = [self.heartbeat, Reconciler(owner)]
        if get_settings().agents:
            agents += build_agents(owner)
        self.loops = [Loop(agent) for agent in agents]
        for loop in self.loops:
            loop.start()
        if parent.use_eventloop and hasattr(getattr(parent.pool, "_pool", None), "maintain_pool"):
            parent.timer.call_repeatedly(_LOOK_FOR_ENDED_CHILDREN_SECONDS, lambda: parent.pool._pool.maintain_pool())
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        signals.worker_shutdown.connect(self._on_shutdown, weak=False)

    def _on_shutting_down(self, **_: Any) -> None:
        # In a signal handler: nothing here may wait.
        threading.Thread(target=self._bound_shutdown, name="taskyard-grace", daemon=True).start()

    def _bound_shutdown(self) -> None:
        if self.heartbeat is not None:
            with contextlib.suppress(DatabaseError):
                self.heartbeat.announce_stop()
            connections.close_all()
        deadline = time.monotonic() + get_settings().shutdown_grace.total_seconds()
        while worker_state.active_requests and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        for request in list(worker_state.active_requests):
            give_back(request)

    def _on_shutdown(self, **_: Any) -> None:
        settler().finish(timeout=15.0)
        stop_all(self.loops)
        self.loops = []


class Reconciler:
    """Finds jobs that this worker's rows say are running here, while nothing here runs them.

    A living worker's heartbeat would keep such a job for ever. It is ended as lost once it was missing in two looks in
    a row, long after its own end would have been written.
    """

    name = "reconciler"
    channels: Sequence[str] = ()

    def __init__(self, worker: uuid.UUID) -> None:
        self.worker = worker
        self._missing: set[tuple[uuid.UUID, int]] = set()

    def run_once(self, now: dt.datetime) -> int:
        """Compare rows and requests; how many jobs were ended."""
        sql = Sql(get_settings().database)
        rows = sql.query(
            "SELECT id, claim FROM taskyard_job"
            " WHERE lane = 2 AND state = 'running' AND worker = %s AND started_at < %s",
            [sql.uuid(self.worker), sql.time(now - get_settings().worker_timeout)],
        )
        # By token, from every list: a duplicate message takes the place of its job's request in the list by id.
        known = (*worker_state.requests.values(), *worker_state.active_requests, *worker_state.reserved_requests)
        here = {getattr(request, "token", None) for request in known}
        missing = {(sql.read_uuid(job_id), token) for job_id, token in rows if token not in here}
        lost, self._missing = missing & self._missing, missing
        for job_id, token in lost:
            error = WorkerLostError("the job runs nowhere in its worker any more")
            settler().submit(Death(job_id, token, None, error, is_released=False))
        return len(lost)

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """As long as a worker may be silent."""
        return get_settings().worker_timeout

    def interrupted(self) -> None:
        """What was missing before may have been settled meanwhile."""
        self._missing.clear()

    def stop(self) -> None:
        """Nothing to give back."""


def give_back(request: Any) -> None:
    """End a running job's child and return the job to the table, without spending an attempt."""
    if not hasattr(request, "job_id") or request.worker_pid in (None, os.getpid()):
        return
    request.is_released = True
    logger.warning("%s[%s] did not end within the grace period; it is given back", request.name, request.id)
    error = WorkerLostError("given back at shutdown")
    settler().submit(Death(request.job_id, request.token, request.worker_pid, error, is_released=True))
    with contextlib.suppress(ProcessLookupError):
        os.kill(request.worker_pid, signal.SIGKILL)


def _logical_queues(app: Any) -> list[str]:
    return [queue.alias or queue.name for queue in app.amqp.queues.consume_from.values()]


def _slots(parent: Any) -> int:
    return max(1, int(getattr(parent.pool, "num_processes", 0) or parent.concurrency or 1))


def _children(parent: Any) -> list[int]:
    pool = getattr(parent.pool, "_pool", None)
    return [process.pid for process in getattr(pool, "_pool", ()) if getattr(process, "pid", None)]


class EarlyAck(bootsteps.StartStopStep):
    """Acknowledges long-running jobs early: the row carries them, not the broker.

    RabbitMQ closes the channel of a consumer that holds a message for 30 minutes, and Redis hands it out again after
    its visibility time-out. Acknowledging would bring the next message behind the long job, so the prefetch count
    goes down with it until the job ends.
    """

    requires: ClassVar[tuple[str, ...]] = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._entry: Any = None
        #: Requests acknowledged early, by id: while they run the prefetch count is lower by their number.
        self._early: dict[str, Any] = {}

    def start(self, parent: Any) -> None:
        """Look every few seconds."""
        self._early.clear()
        self._entry = parent.timer.call_repeatedly(_EVERY_SECONDS, self.look, (parent,))

    def stop(self, parent: Any) -> None:
        """The connection is gone."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    def look(self, parent: Any) -> None:
        """Acknowledge what runs long; give the slot back for what has ended."""
        limit = get_settings().acknowledge_after.total_seconds()
        active = {request.id: request for request in tuple(worker_state.active_requests)}
        for request_id in [known for known in self._early if known not in active]:
            del self._early[request_id]
            parent.qos.increment_eventually(1)
        for request in active.values():
            is_long = request.time_start is not None and time.time() - request.time_start >= limit
            if is_long and not request.acknowledged and hasattr(request, "job_id"):
                # A prefetch count of zero would mean "unlimited": behind the last slot's job one message may be taken
                # ahead, and is published again for workers with free slots.
                if parent.qos.value > 1:
                    self._early[request.id] = request
                    parent.qos.decrement_eventually(1)
                request.acknowledge()
