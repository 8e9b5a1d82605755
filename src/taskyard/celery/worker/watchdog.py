"""Notices a worker that is deaf: connected as far as it knows, with slots idle, while its jobs stand in the queue.

After a failover, or behind a firewall that forgot a connection, both ends believe in a connection that carries
nothing, and waiting for it, or closing it politely, may take for ever.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from celery import bootsteps, signals
from celery.utils.threads import _open_broker_sockets
from celery.worker import state as worker_state
from kombu.connection import Connection

from taskyard.celery import broker
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.runtime.loop import Agent, Loop
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: Looks within the time a worker may be deaf.
_LOOKS = 4
#: Most jobs remembered from one look to the next.
_SAMPLE = 50
#: What a shutdown may take beyond the grace period of its jobs before the process is ended without ceremony.
_SLACK_SECONDS = 10.0


class WatchdogStep(bootsteps.StartStopStep):
    """Runs the watchdog of a worker; not on the database broker, where the rows themselves are taken."""

    requires: ClassVar[tuple[str, ...]] = ("taskyard.celery.worker.step:JobStep",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.loop: Loop | None = None

    def include_if(self, parent: Any) -> bool:
        """Whether there is a connection that can go deaf."""
        return not broker.is_database(parent.app.conf.broker_read_url)

    def start(self, parent: Any) -> None:
        """Watch."""
        agent: Agent = Watchdog(parent)
        self.loop = Loop(agent)
        self.loop.start()

    def stop(self, parent: Any) -> None:
        """A worker that stops may be deaf."""
        if self.loop is not None:
            self.loop.ask_to_stop()


class Watchdog:
    """Within ``RECONNECT_AFTER`` of going deaf a worker has new connections; if that does not help, it ends.

    Deaf means that in this time no message came, of whatever kind, while a slot was idle and one and the same job of
    its queues stood queued. A worker that is trying to connect is not deaf: it knows. One that is still deaf with its
    new connections, though a job was published meanwhile, ends with exit code 1 after the grace period of its jobs,
    for whoever starts it to start it again. Costs one short query every few seconds, and none while every slot is busy.
    """

    name = "watchdog"
    channels: Sequence[str] = ()

    def __init__(self, worker: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.worker = worker
        self.monotonic = monotonic
        self._since = 0.0
        self._received = -1
        #: How often each job that stood queued in every look so far had been published in the first of them.
        self._stuck: dict[uuid.UUID, int] = {}
        self._has_cut = False

    def run_once(self, now: dt.datetime) -> int:
        """Look; 1 if something was done about it."""
        consumer = self.worker.consumer
        received, clock = consumer.received, self.monotonic()
        if received != self._received or consumer.is_connecting or not self._is_idle(consumer):
            self._has_cut = self._has_cut and received == self._received
            self._received, self._stuck = received, {}
            return 0
        queued = self._queued(Sql(get_settings().database))
        self._has_cut = self._has_cut and bool(queued)
        stuck = {job: publishes for job, publishes in self._stuck.items() if job in queued}
        if not stuck:
            self._since, self._stuck = clock, queued
            return 0
        self._stuck = stuck
        if clock - self._since < get_settings().reconnect_after.total_seconds():
            return 0
        return self._act(is_published_again=any(queued[job] > publishes for job, publishes in stuck.items()))

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """Some looks within the limit."""
        return get_settings().reconnect_after / _LOOKS

    def interrupted(self) -> None:
        """What was seen before may have ended meanwhile."""
        self._stuck = {}

    def stop(self) -> None:
        """Nothing to give back."""

    def _is_idle(self, consumer: Any) -> bool:
        if worker_state.should_stop is not None or worker_state.should_terminate is not None:
            return False
        slots = int(getattr(self.worker.pool, "num_processes", 0) or self.worker.concurrency or 1)
        return in_hand(consumer) < slots

    def _queued(self, sql: Sql) -> dict[uuid.UUID, int]:
        names = [queue.alias or queue.name for queue in tuple(self.worker.app.amqp.queues.consume_from.values())]
        if not names:
            return {}
        rows = sql.query(
            f"SELECT id, publishes FROM {TABLE} WHERE lane = 2 AND state = 'queued'"
            f" AND queue IN ({', '.join(['%s'] * len(names))}) ORDER BY id LIMIT {_SAMPLE}",
            names,
        )
        return {sql.read_uuid(job_id): publishes for job_id, publishes in rows}

    def _act(self, *, is_published_again: bool) -> int:
        limit = get_settings().reconnect_after.total_seconds()
        if not self._has_cut:
            logger.error("no message came for %.0f s while jobs of its queues stand queued: reconnecting", limit)
            cut(broker_connections(self.worker))
        elif is_published_again:
            logger.critical("no message came for another %.0f s, over new connections: ending with exit code 1", limit)
            self._end()
        else:
            return 0
        self._has_cut, self._stuck = True, {}
        return 1

    def _end(self) -> None:
        # As a signal from outside would, but with another exit code; jobs that outlast the grace period go back.
        signals.worker_shutting_down.send(sender=self.worker.hostname, sig="watchdog", how="Warm", exitcode=1)
        worker_state.should_stop = 1
        seconds = get_settings().shutdown_grace.total_seconds() + _SLACK_SECONDS
        last_resort = threading.Timer(seconds, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()


def in_hand(consumer: Any) -> int:
    """How many requests a worker has that have not ended, those held back by a rate limit included."""
    held = sum(len(bucket.contents) for bucket in tuple(consumer.task_buckets.values()) if bucket)
    return len(worker_state.reserved_requests) + held


def broker_connections(worker: Any) -> Iterator[Connection]:
    """Those the worker's event loop may be waiting for; the agents have theirs, with time-outs."""
    consumer = worker.consumer
    if consumer is None:
        return
    yield from filter(None, (consumer.connection, getattr(consumer.event_dispatcher, "connection", None)))
    pool = worker.app._pool
    if pool is not None:
        # Those never used are not connections yet.
        pooled = (*tuple(pool._resource.queue), *tuple(pool._dirty))
        yield from (each for each in pooled if isinstance(each, Connection))


def cut(connections: Iterator[Connection]) -> None:
    """End them without a word to the other side, from whatever thread: who waits for one gets an error at once."""
    for connection in connections:
        for each in (*_open_broker_sockets(connection), *_pooled_sockets(connection)):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _pooled_sockets(connection: Connection) -> list[socket.socket]:
    # The Redis driver's own pools, from which kombu takes a connection for each command but BRPOP.
    channels = tuple(getattr(connection.transport, "channels", None) or ())
    pools = [getattr(channel, name, None) for channel in channels for name in ("_pool", "_async_pool")]
    held = [
        one for pool in pools if pool is not None for one in (*pool._in_use_connections, *pool._available_connections)
    ]
    return [one._sock for one in held if getattr(one, "_sock", None) is not None]
