"""``taskyard queues``: look at queues, hold them back, let them go."""

from __future__ import annotations

import argparse
import datetime as dt
import getpass
from collections.abc import Sequence
from typing import Any

from taskyard.entrypoint.arguments import add_json
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("queues", help="list, pause or resume queues")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every queue, and what stands in it")
    add_json(listing)
    listing.set_defaults(run=show)
    pause = verbs.add_parser("pause", help="feed nothing of a queue to workers until it is resumed")
    pause.add_argument("names", nargs="+", metavar="QUEUE")
    pause.add_argument("--reason", default="", help="shown wherever somebody asks why jobs wait")
    pause.set_defaults(run=pause_queues)
    resume = verbs.add_parser("resume", help="feed a queue again")
    resume.add_argument("names", nargs="+", metavar="QUEUE")
    resume.set_defaults(run=resume_queues)


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
        screen.line(f"  {paused_because(row)}")
    return Exit.OK


def paused_because(row: Any) -> str:
    """Who paused a queue, when and why, in one sentence."""
    by = f" by {row.paused_by}" if row.paused_by else ""
    why = f": {row.reason}" if row.reason else ""
    return f"queue {row.name!r} is paused since {row.paused_at:%Y-%m-%d %H:%M} UTC{by}{why}"


def pause_queues(options: argparse.Namespace, screen: Screen) -> int:
    """Hold them back; 1 if all of them were paused already."""
    from taskyard.outbox.models import QueueSetting

    check_names(options.names)
    now = dt.datetime.now(dt.UTC)
    moved = QueueSetting.objects.pause(options.names, now, by=_user(), reason=options.reason)
    if not moved:
        screen.note("Nothing to do: already paused.")
        return Exit.WRONG
    screen.line(f"Paused {', '.join(options.names)}. Jobs already handed to a worker run to their end.")
    return Exit.OK


def resume_queues(options: argparse.Namespace, screen: Screen) -> int:
    """Let them go; 1 if none of them was paused."""
    from taskyard.outbox.models import QueueSetting
    from taskyard.runtime.wakeup import WORK_WRITTEN, wake

    moved = QueueSetting.objects.resume(options.names)
    if not moved:
        screen.note("Nothing to do: not paused.")
        return Exit.WRONG
    wake(WORK_WRITTEN)
    screen.line(f"Resumed {', '.join(options.names)}. Feeders notice within two seconds.")
    return Exit.OK


def check_names(names: Sequence[str]) -> None:
    """Raises :class:`UsageError` for a queue that ``TASKYARD["QUEUES"]`` does not list."""
    from taskyard.errors import UnknownQueue
    from taskyard.settings import get_settings

    settings = get_settings()
    known = [*settings.queues, *settings.handover]
    for name in names:
        if settings.queues and name not in known:
            raise UsageError(str(UnknownQueue(name, known)))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
