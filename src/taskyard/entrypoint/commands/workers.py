"""``taskyard workers``: which there are, and stopping one."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from taskyard.entrypoint.arguments import actor_of, add_actor, add_json, add_reason
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, ago


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("workers", help="list workers, or stop one")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every worker, what it consumes and how much of it is busy")
    add_json(listing)
    add_actor(listing)
    listing.set_defaults(run=list_workers)
    text = "ask a worker to stop as SIGTERM does: it takes nothing new and finishes what runs"
    stop = verbs.add_parser("stop", help=text, description=text)
    stop.add_argument("worker", metavar="WORKER", help="its name or its id")
    add_reason(stop)
    add_actor(stop)
    stop.set_defaults(run=stop_worker)


def list_workers(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there is none."""
    from taskyard.operations import workers

    found, now = workers.list_(actor_of(options)), dt.datetime.now(dt.UTC)
    if options.json:
        screen.json(found)
    elif found:
        screen.table(("NAME", "STATE", "QUEUES", "BUSY", "STARTED", "ID"), [
            (each.name, each.state, ", ".join(each.queues), f"{each.running}/{each.slots}", ago(each.started_at, now),
             each.id)
            for each in found
        ])  # fmt: skip
    else:
        screen.note("There is no worker.")
    return Exit.OK if found else Exit.WRONG


def stop_worker(options: argparse.Namespace, screen: Screen) -> int:
    """Ask it to stop; it is asked and not waited for."""
    from taskyard.operations import workers

    worker = workers.stop(actor_of(options), options.worker, reason=options.reason)
    screen.line(
        f"Asked {worker.name} to stop: it finishes what runs, {worker.running} of {worker.slots} slots are busy."
    )
    return Exit.OK
