"""``taskyard queues``: look at queues, limit them, hold them back, let them go."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from taskyard.entrypoint.arguments import actor_of, add_actor, add_json, add_reason, add_tenant
from taskyard.entrypoint.commands.limits import add_verbs, refusing_odd_words
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("queues", help="list, limit, pause or resume queues")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every queue, and what stands in it")
    add_json(listing)
    add_actor(listing)
    listing.set_defaults(run=show)
    add_verbs(verbs, "queue")
    text = "cancel everything that waits in a queue"
    clear = verbs.add_parser("clear", help=text, description=f"{text}; what runs, runs on.")
    clear.add_argument("name", metavar="QUEUE")
    add_tenant(clear)
    add_reason(clear)
    clear.add_argument("--dry-run", action="store_true", help="count them, change nothing")
    add_json(clear)
    add_actor(clear)
    clear.set_defaults(run=clear_queue)


def show(options: argparse.Namespace, screen: Screen) -> int:
    """List them."""
    from taskyard.entrypoint.commands.status import queue_document, show_queues
    from taskyard.operations import queues as verbs
    from taskyard.operations.acting.held import paused_because

    now = dt.datetime.now(dt.UTC)
    queues, paused = verbs.list_(actor_of(options)), verbs.paused()
    if options.json:
        screen.json([queue_document(q, paused[q.name].paused_at if q.name in paused else None) for q in queues])
        return Exit.OK
    show_queues(screen, queues, paused=set(paused), now=now)
    for row in paused.values():
        screen.line(f"  {paused_because(row, 'queue')}")
    return Exit.OK


def clear_queue(options: argparse.Namespace, screen: Screen) -> int:
    """Cancel what waits; 0 also if that is nothing."""
    from taskyard.entrypoint.commands.jobs import carry_out, show_preview
    from taskyard.operations import queues as verbs

    actor = actor_of(options)
    with refusing_odd_words():
        order = verbs.clearing(actor, options.name, reason=options.reason)
    if options.dry_run:
        show_preview(actor, order, screen=screen, as_json=options.json)
        return Exit.OK
    run = carry_out(actor, order, screen=screen)
    if options.json:
        screen.json({"verb": "clear", "matched": run.seen, "changed": run.changed})
    else:
        screen.line(f"{run.changed:,} {'job' if run.changed == 1 else 'jobs'} cancelled in queue {options.name!r}.")
    return Exit.OK
