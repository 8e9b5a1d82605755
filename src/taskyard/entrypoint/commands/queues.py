"""``taskyard queues``: look at queues, limit them, hold them back, let them go."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from taskyard.entrypoint.arguments import add_json
from taskyard.entrypoint.commands.limits import add_verbs, paused_because
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("queues", help="list, limit, pause or resume queues")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every queue, and what stands in it")
    add_json(listing)
    listing.set_defaults(run=show)
    add_verbs(verbs, "queue")


def show(options: argparse.Namespace, screen: Screen) -> int:
    """List them."""
    from taskyard.entrypoint.commands.status import queue_document, show_queues
    from taskyard.jobs import queries
    from taskyard.outbox.models import QueueSetting

    now = dt.datetime.now(dt.UTC)
    queues = queries.queue_overview(now)
    paused = {row.name: row for row in QueueSetting.objects.paused()}
    queues += [queries.QueueOverview(name=name) for name in sorted(paused) if name not in {q.name for q in queues}]
    if options.json:
        screen.json([queue_document(q, paused[q.name].paused_at if q.name in paused else None) for q in queues])
        return Exit.OK
    show_queues(screen, queues, paused=set(paused), now=now)
    for row in paused.values():
        screen.line(f"  {paused_because(row, 'queue')}")
    return Exit.OK
