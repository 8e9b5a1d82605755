"""Queued jobs as messages: the row itself is taken, there is no second copy."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from taskyard.celery.broker.store import marks
from taskyard.celery.messages import thin_message
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.outbox import outgoing
from taskyard.outbox.out import CLOCKS, PART, SLOW_SECONDS
from taskyard.runtime.identity import worker_id
from taskyard.runtime.wakeup import WORK_QUEUED
from taskyard.settings import get_settings

_READY = "lane = 2 AND state = 'queued' AND worker IS NULL AND queue = %s"


def logical_name(queue: str) -> str | None:
    """The queue's name in job rows; None where no job of ours is to be had (``HANDOVER``)."""
    settings = get_settings()
    by_broker_name = {broker: logical for logical, broker in settings.queues.items()}
    name = by_broker_name.get(queue, queue)
    return None if name in settings.handover else name


def urgency(queue: str) -> int:
    """Place of a broker queue in ``TASKYARD["QUEUES"]``, most urgent first; those not listed come last."""
    broker_names = list(get_settings().queues.values())
    return broker_names.index(queue) if queue in broker_names else len(broker_names)


#: By queue, while looking there is slow: since when the jobs that are ready were published, and until when to believe
#: that; see :mod:`taskyard.outbox.out`. Kept by whoever looks again and again.
Floors = dict[str, tuple[Any, float]]


class JobRows:
    """Statements on queued jobs, on the calling thread's connection to the control database.

    A job is in the hands of the worker *process*, whose rows the rescuer frees when it dies: no lease is needed.
    """

    def __init__(self, alias: str, floors: Floors | None = None) -> None:
        self.sql = Sql(alias)
        self._floors = {} if floors is None else floors

    def is_ready(self, queue: str) -> tuple[str, Sequence[Any]]:
        """The subquery that finds a job to take, for ``Store.ready``."""
        condition, params = self._ready(queue)
        return f"SELECT 1 FROM {TABLE} WHERE {condition}", params

    def _ready(self, queue: str) -> tuple[str, list[Any]]:
        floor, until = self._floors.get(queue, (None, 0.0))
        if floor is not None and time.monotonic() >= until:
            floor = self._look(queue)
        if floor is None:
            return _READY, [logical_name(queue)]
        return f"{_READY} AND published_at >= %s", [logical_name(queue), floor]

    def _look(self, queue: str) -> Any:
        """Passes all that was ever out beside an old snapshot; None once that is fast again."""
        began = time.monotonic()
        oldest = self.sql.query(f"SELECT MIN(published_at) FROM {TABLE} WHERE {_READY}", [logical_name(queue)])[0][0]
        took = time.monotonic() - began
        if took <= SLOW_SECONDS:
            self._floors.pop(queue, None)
            return None
        moment = timezone.now() if oldest is None else self.sql.read_time(oldest)
        floor = self.sql.time((moment or timezone.now()) - CLOCKS)
        self._floors[queue] = floor, time.monotonic() + PART * took
        return floor

    def take(self, queue: str, limit: int) -> list[tuple[uuid.UUID, dict[str, Any]]]:
        """Take up to ``limit`` jobs, best first: their ids and thin messages as kombu's raw messages."""
        condition, params = self._ready(queue)
        began = time.monotonic()
        rows = self.sql.take(
            "worker = %s",
            condition,
            [self.sql.uuid(worker_id()), *params],
            order="priority DESC, published_at, id",
            limit=limit,
            returning=f"published_at, {outgoing.COLUMNS}",
        )
        if condition is _READY and time.monotonic() - began > SLOW_SECONDS:
            self._look(queue)
        # RETURNING has no order of its own.
        jobs = [(self.sql.read_time(row[0]), outgoing.from_row(self.sql, row[1:])) for row in rows]
        jobs.sort(key=lambda job: (-job[1].priority, job[0].timestamp() if job[0] else 0.0, job[1].id))
        return [(out.id, as_raw_message(out, queue)) for _, out in jobs]

    def release(self, ids: Sequence[uuid.UUID]) -> None:
        """Give jobs back that were not started meanwhile."""
        self._free(f"id IN ({marks(ids)})", [self.sql.uuid(job_id) for job_id in ids])

    def release_others(self, kept: Sequence[uuid.UUID]) -> None:
        """Give back jobs this process took but does not know of: the connection broke before the answer came."""
        besides = f"lane = 2 AND id NOT IN ({marks(kept)})" if kept else "lane = 2"
        self._free(besides, [self.sql.uuid(job_id) for job_id in kept])

    def size(self, queue: str) -> int:
        """How many jobs wait to be taken."""
        return int(self.sql.query(f"SELECT COUNT(*) FROM {TABLE} WHERE {_READY}", [logical_name(queue)])[0][0])

    def _free(self, where: str, params: Sequence[Any]) -> None:
        freed = self.sql.execute(
            f"UPDATE {TABLE} SET worker = NULL WHERE {where} AND state = 'queued' AND worker = %s",
            [*params, self.sql.uuid(worker_id())],
        )
        if freed and self.sql.vendor == "postgresql":
            self.sql.query(f"SELECT pg_notify('{WORK_QUEUED}', '')")


def as_raw_message(out: outgoing.Outgoing, queue: str) -> dict[str, Any]:
    """The job's thin message in the form kombu's virtual channels read."""
    body, headers, properties = thin_message(out)
    routing = {"exchange": "", "routing_key": queue, "priority": out.priority, "redelivered": False}
    return {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            **properties,
            "priority": out.priority,
            "delivery_info": routing,
            "body_encoding": "utf-8",
        },
    }
