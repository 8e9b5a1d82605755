"""Reads the rows of processes, without a model: a probe loads no app."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.monitoring.moving import Process
from taskyard.runtime.ticks import Tick

WORKERS = "taskyard_worker"
_COLUMNS = "id, role, name, host, pid, queues, slots, version, started_at, heartbeat_at, stopping_at, pulse"
#: A message that was published so often with idle slots about has been lost for over two minutes.
_OFTEN = 5


def read_processes(sql: Sql, *, where: str = "", params: Sequence[Any] = ()) -> list[Process]:
    """Every process with a row, the latest started first; ``where`` chooses some of them."""
    chosen = f" WHERE {where}" if where else ""
    rows = sql.query(f"SELECT {_COLUMNS} FROM {WORKERS}{chosen} ORDER BY started_at DESC", params)
    return [_process(sql, row) for row in rows]


def _process(sql: Sql, row: Sequence[Any]) -> Process:
    worker, role, name, host, pid, queues, slots, version, started_at, heartbeat_at, stopping_at, pulse = row
    said = json.loads(pulse) if pulse else {}
    return Process(
        id=sql.read_uuid(worker), role=role, name=name, host=host, pid=pid, queues=tuple(json.loads(queues)),
        slots=slots, version=version, started_at=sql.moment(started_at), heartbeat_at=sql.moment(heartbeat_at),
        stopping_at=sql.read_time(stopping_at),
        agents={name: _tick(tick) for name, tick in said.get("agents", {}).items()},
        claimed_at=sql.read_time(said.get("claimed_at")), in_hand=said.get("in_hand", 0),
        is_connecting=said.get("is_connecting", False),
    )  # fmt: skip


def _tick(said: dict[str, Any]) -> Tick:
    at, next_at = dt.datetime.fromisoformat(said["at"]), dt.datetime.fromisoformat(said["next_at"])
    return Tick(at, next_at, said["failures"])


def is_waited_for(sql: Sql, process: Process, *, since: dt.datetime) -> bool:
    """Whether a job of its queues has stood in the broker since then, and in nobody else's hands."""
    if not process.queues:
        return False
    marks = ", ".join(["%s"] * len(process.queues))
    found = sql.query(
        f"SELECT 1 FROM {TABLE} WHERE lane = 2 AND state = 'queued' AND queue IN ({marks})"
        f" AND (published_at < %s OR publishes >= {_OFTEN}) AND (worker IS NULL OR worker = %s) LIMIT 1",
        [*process.queues, sql.time(since), sql.uuid(process.id)],
    )
    return bool(found)
