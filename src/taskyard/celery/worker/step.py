"""What a worker's main process does beside consuming: heartbeat, agents, a bounded shutdown."""

from __future__ import annotations

import datetime as dt
import gc
import logging
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from billiard.exceptions import WorkerLostError
from celery import bootsteps, signals
from celery.utils.threads import bound_open_broker_sockets
from celery.worker import state as worker_state
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from taskyard.celery.agents import build_agents
from taskyard.celery.worker.settler import Death, settler
from taskyard.celery.worker.shutdown import Grace
from taskyard.celery.worker.watchdog import broker_connections, cut, in_hand
from taskyard.jobs.rows.sql import Sql
from taskyard.runtime import identity, ticks
from taskyard.runtime.heartbeat import Heartbeat
from taskyard.runtime.loop import Agent, Loop, stop_all
from taskyard.sagas.reading.stranded import find_stranded
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: How often the pool looks for children that ended. Their closing pipes tell it at once, but often a moment before they
#: can be reaped, and Celery's own second look comes after five seconds.
_LOOK_FOR_ENDED_CHILDREN_SECONDS = 1.0
#: How long a broker may take to answer a worker that stops. Celery sets this in a cold shutdown alone.
_LONGEST_ANSWER_SECONDS = 5.0
#: How often the event loop says that it turns.
_TICK_SECONDS = 1.0


class JobStep(bootsteps.StartStopStep):
    """Starts after the pool, so that its children are forked before there are threads."""

    requires: ClassVar[tuple[str, ...]] = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.loops: list[Loop] = []
        self.heartbeat: Heartbeat | None = None
        self.grace: Grace | None = None
        self._parent = parent
        # Everything is imported, and nothing forked: what lives as long as the process need not be looked through by
        # each collection, nor copied into each child because a collection wrote to it.
        gc.collect()
        gc.freeze()

    def start(self, parent: Any) -> None:
        """Register the worker and start its threads."""
        owner = identity.renew()
        # The pool's children of this worker were forked with the old id; the id travels with each delivery.
        self.heartbeat = Heartbeat(
            owner, name=parent.hostname, queues=_logical_queues(parent.app), slots=_slots(parent),
            children=lambda: _children(parent), doing=Doing(parent),
        )  # fmt: skip
        try:
            self.heartbeat.register(timezone.now())
            for stranded in find_stranded():
                logger.warning("%s: deploy that version beside the new one (docs/checks.md#w021)", stranded)
        except (OperationalError, InterfaceError) as error:
            # Its first beat makes up for it: a worker need not come up after its database.
            logger.warning("the worker is not registered yet: %s", error)
        connections.close_all()
        agents: list[Agent] = [self.heartbeat, Reconciler(owner)]
        if get_settings().agents:
            agents += build_agents(owner)
        self.loops = [Loop(agent) for agent in agents]
        # The heartbeat last: its first beat tells of the others.
        for loop in reversed(self.loops):
            loop.start()
        if parent.use_eventloop:
            parent.timer.call_repeatedly(_TICK_SECONDS, _tick)
        if parent.use_eventloop and hasattr(getattr(parent.pool, "_pool", None), "maintain_pool"):
            parent.timer.call_repeatedly(_LOOK_FOR_ENDED_CHILDREN_SECONDS, lambda: parent.pool._pool.maintain_pool())
        signals.worker_shutting_down.connect(self.begin_grace, weak=False)
        signals.worker_shutdown.connect(self._on_shutdown, weak=False)

    def begin_grace(self, **_: Any) -> None:
        """Bound the shutdown that has begun, once: a second signal comes here again."""
        if self.heartbeat is not None and self.grace is None:
            for connection in broker_connections(self._parent):
                bound_open_broker_sockets(connection, _LONGEST_ANSWER_SECONDS)
            self.grace = Grace(
                self.heartbeat, lambda: _children(self._parent), leave=self._leave,
                hang_up=lambda: cut(broker_connections(self._parent)),
            )  # fmt: skip
            self.grace.begin()

    def _on_shutdown(self, **_: Any) -> None:
        if self.grace is not None:
            self.grace.finish()
        self._leave()

    def _leave(self) -> None:
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


class Doing:
    """What a worker's heartbeat says of its work; costs nothing per job."""

    def __init__(self, parent: Any) -> None:
        self._parent = parent
        self._begun = 0
        self._claimed_at: dt.datetime | None = None

    def __call__(self, now: dt.datetime) -> dict[str, Any]:
        """``claimed_at``: when a beat last saw that a child had begun with a job, exact to one heartbeat."""
        begun = sum(tuple(worker_state.total_count.values()))
        if begun != self._begun:
            self._begun, self._claimed_at = begun, now
        consumer = self._parent.consumer
        return {
            "claimed_at": self._claimed_at.isoformat() if self._claimed_at else None,
            "in_hand": 0 if consumer is None else in_hand(consumer),
            "is_connecting": consumer is None or consumer.is_connecting,
        }


def _tick() -> None:
    ticks.note("consumer", timezone.now(), wait_seconds=_TICK_SECONDS)


def _logical_queues(app: Any) -> list[str]:
    return [queue.alias or queue.name for queue in app.amqp.queues.consume_from.values()]


def _slots(parent: Any) -> int:
    return max(1, int(getattr(parent.pool, "num_processes", 0) or parent.concurrency or 1))


def _children(parent: Any) -> list[int]:
    pool = getattr(parent.pool, "_pool", None)
    return [process.pid for process in getattr(pool, "_pool", ()) if getattr(process, "pid", None)]
