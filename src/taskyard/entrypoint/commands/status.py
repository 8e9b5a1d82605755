"""``taskyard status``: workers, queues and what ended lately, on one screen."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from taskyard.entrypoint.arguments import add_json
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, ago, duration

_HOUR = dt.timedelta(hours=1)


def add_to(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("status", help="workers, queues, and what ended in the last hour")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Show it; 0 also when nothing runs (``doctor`` judges)."""
    from taskyard.jobs import queries
    from taskyard.outbox.models import QueueSetting

    now = dt.datetime.now(dt.UTC)
    workers, queues = queries.worker_overview(now), queries.queue_overview(now)
    ended = queries.ended_since(now - _HOUR)
    paused = {row.name: row.paused_at for row in QueueSetting.objects.paused()}
    if options.json:
        screen.json({
            "at": now, "workers": workers, "ended_last_hour": ended,
            "queues": [queue_document(queue, paused.get(queue.name)) for queue in queues],
        })  # fmt: skip
        return Exit.OK
    _show_workers(screen, workers, now)
    screen.line()
    show_queues(screen, queues, paused=set(paused), now=now)
    screen.line()
    screen.heading("Ended in the last hour")
    screen.line("  " + "   ".join(f"{count:,} {screen.paint(*_coloured(state))}" for state, count in ended.items()))
    return Exit.OK


def _coloured(state: str) -> tuple[str, str]:
    return state, {"succeeded": "green", "failed": "red"}.get(state, "grey")


def _show_workers(screen: Screen, workers: list[Any], now: dt.datetime) -> None:
    screen.heading("Workers")
    if not workers:
        screen.line("  none; start one with: taskyard worker (or `taskyard up` for everything)")
        return
    rows = [
        (
            w.name,
            w.state,
            ", ".join(w.queues),
            w.slots,
            w.running,
            ago(w.heartbeat_at, now),
            duration(now - w.started_at),
        )
        for w in workers
    ]
    screen.table(("NAME", "STATE", "QUEUES", "SLOTS", "RUNNING", "HEARTBEAT", "UP FOR"), rows, indent="  ")


def show_queues(screen: Screen, queues: list[Any], *, paused: set[str], now: dt.datetime) -> None:
    """The table of queues."""
    screen.heading("Queues")
    if not queues:
        screen.line("  none has work or a worker")
        return
    rows = [
        (
            q.name, "paused" if q.name in paused else "ok" if q.slots or not q.due else "no worker", q.due, q.later,
            q.queued, q.running, duration(now - q.oldest_due_at) if q.oldest_due_at else None,
            f"{q.finished_last_minute:,}/min", q.slots,
        )
        for q in queues
    ]  # fmt: skip
    columns = ("NAME", "STATE", "DUE", "LATER", "QUEUED", "RUNNING", "OLDEST DUE", "RATE", "SLOTS")
    screen.table(columns, rows, indent="  ")


def queue_document(queue: Any, paused_at: dt.datetime | None) -> dict[str, Any]:
    """One queue as JSON."""
    from taskyard.entrypoint.screen import plain

    return {**plain(queue), "paused_at": paused_at}
