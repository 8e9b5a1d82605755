"""``taskyard status``: workers, queues and what ended lately, on one screen."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Sequence
from typing import Any

from taskyard.entrypoint.arguments import actor_of, add_actor, add_json
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, ago, duration

#: Lines of a table that may have thousands.
_MOST = 20


def add_to(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("status", help="workers, queues, and what ended in the last hour")
    add_json(parser)
    add_actor(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Show it; 0 also when nothing runs (``doctor`` judges)."""
    from taskyard.monitoring.overview import overview

    found = overview(actor_of(options))
    if options.json:
        screen.json(found.document())
        return Exit.OK
    now = found.at
    _show_workers(screen, found.workers, now)
    screen.line()
    show_queues(screen, found.queues, paused=set(found.paused), now=now)
    _show_held(screen, found.held_back, found.tenants_not_entered, now=now)
    _show_sagas(screen, found, now)
    _show_relay(screen, found.relay, now)
    screen.line()
    screen.heading("Ended in the last hour")
    counts = (f"{count:,} {screen.paint(*_coloured(state))}" for state, count in found.ended_last_hour.items())
    screen.line("  " + "   ".join(counts))
    return Exit.OK


def _show_held(screen: Screen, holds: Sequence[Any], waiting: Sequence[Any], *, now: dt.datetime) -> None:
    from taskyard.operations.acting.held import why_held

    rows: list[tuple[Any, ...]] = [
        (hold.kind, hold.name, hold.due, hold.out, _since(hold.oldest_due_at, now), why_held(hold)) for hold in holds
    ]
    for one in waiting:
        rows.append(("tenant", one.tenant, one.waiting, None, _since(one.since, now), str(one.error.get("message"))))
    if rows:
        screen.line()
        screen.heading("Held back")
        _show_first(screen, ("KIND", "NAME", "WAITING", "OUT", "OLDEST", "WHY"), rows)


def _show_first(screen: Screen, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    screen.table(columns, rows[:_MOST], indent="  ")
    if len(rows) > _MOST:
        screen.line(f"  and {len(rows) - _MOST:,} more; --json shows all")


def _since(moment: dt.datetime | None, now: dt.datetime) -> str | None:
    return duration(now - moment) if moment else None


def _show_sagas(screen: Screen, found: Any, now: dt.datetime) -> None:
    stuck, late = found.sagas_needing_attention, found.sagas_not_looked_at
    if not stuck.count + late.count:
        return
    screen.line()
    screen.heading("Sagas")
    if stuck.count:
        since = _since(stuck.oldest_at, now)
        screen.line(f"  {stuck.count:,} {screen.paint('needs_attention', 'red')}, the longest for {since}: "
                    "taskyard sagas list --state needs_attention")  # fmt: skip
    if late.count:
        since = _since(late.oldest_at, now)
        screen.line(f"  {late.count:,} that no keeper has looked at, the longest for {since}: taskyard doctor")


def _show_relay(screen: Screen, relay: Any, now: dt.datetime) -> None:
    if relay is None:
        return
    screen.line()
    screen.heading("Outboxes")
    acts = "a relay acts" if relay.is_acting else "no relay acts"
    if relay.round_ended_at:
        acts += f"; all {relay.outboxes:,} had been looked into {ago(relay.round_ended_at, now)}"
    screen.line(f"  {acts}")
    rows = [
        (n.name, n.waiting, n.unreadable, _since(n.oldest_at, now), _since(n.failing_since, now), n.error)
        for n in relay.notes
    ]
    if rows:
        _show_first(screen, ("OUTBOX", "WAITING", "UNREADABLE", "OLDEST", "AWAY FOR", "ERROR"), rows)


def _coloured(state: str) -> tuple[str, str]:
    return state, {"succeeded": "green", "failed": "red"}.get(state, "grey")


def _show_workers(screen: Screen, workers: Sequence[Any], now: dt.datetime) -> None:
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


def show_queues(screen: Screen, queues: Sequence[Any], *, paused: set[str], now: dt.datetime) -> None:
    """The table of queues."""
    screen.heading("Queues")
    if not queues:
        screen.line("  none has work or a worker")
        return
    rows = [
        (
            q.name, "paused" if q.name in paused else "ok" if q.slots or not (q.due or q.queued) else "no worker",
            q.due, q.later, q.queued, q.running, duration(now - q.oldest_due_at) if q.oldest_due_at else None,
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
