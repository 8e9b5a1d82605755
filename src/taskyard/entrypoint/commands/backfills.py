"""``taskyard schedules backfill`` and ``backfills``: due times of the past that are run after all."""

from __future__ import annotations

import argparse
from typing import Any

from taskyard.entrypoint.arguments import actor_of, add_actor, add_json, add_reason, add_tenant, named_schedule, since
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen

#: Back-fills that ``backfills`` shows.
_BACKFILLS = 50


def add_to(verbs: Any) -> None:
    """Declare the commands."""
    _add_backfill(verbs)
    fills = verbs.add_parser("backfills", help="back-fills, the latest first, and how far they are")
    add_tenant(fills)
    add_json(fills)
    add_actor(fills)
    fills.set_defaults(run=list_backfills)


def _add_backfill(verbs: Any) -> None:
    text = "run due times of the past that did not run, a few at a time, each once"
    fill = verbs.add_parser("backfill", help=text, description=text)
    fill.add_argument("name", metavar="NAME")
    add_tenant(fill)
    fill.add_argument("--from", type=since, default=None, dest="since", metavar="WHEN",
                      help="the first instant: 2026-01-31, 2026-01-31T08:00 (UTC), or 30d: so long ago")  # fmt: skip
    fill.add_argument("--to", type=since, default=None, dest="until", metavar="WHEN", help="the last (default: now)")
    fill.add_argument("--queue", default="backfill", help="queue of its jobs (default: backfill)")
    fill.add_argument("--rate", type=float, default=60.0, metavar="N", help="most due times a minute (default: 60)")
    fill.add_argument("--forgotten", action="store_true",
                      help="also those so long ago that nobody knows whether they ran")  # fmt: skip
    fill.add_argument("--dry-run", action="store_true", help="count what would run, and write nothing")
    fill.add_argument("--cancel", action="store_true", help="feed no more of those of this schedule that go on")
    add_reason(fill)
    add_json(fill)
    add_actor(fill)
    fill.set_defaults(run=backfill_schedule)


def backfill_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Start one, say what it would do, or cancel; 1 if there is nothing to run or to cancel."""
    from taskyard.errors import InvalidSchedule, UnknownQueue
    from taskyard.operations import schedules
    from taskyard.schedules.backfill import Wish

    actor = actor_of(options)
    actor.require("backfill_schedule")
    row, tenant, actor = _find_for(options, actor)
    if options.cancel:
        return _cancel_backfills(row, screen, actor=actor, reason=options.reason)
    if options.since is None:
        raise UsageError("From when? Say --from WHEN (or --cancel).")
    wish = Wish(
        since=options.since, until=options.until, tenant=tenant, queue=options.queue, per_minute=options.rate,
        forgotten=options.forgotten,
    )  # fmt: skip
    try:
        if options.dry_run:
            return _show_outlook(schedules.look_ahead(actor, row, wish), screen, as_json=options.json)
        fill = schedules.backfill(actor, row, wish, reason=options.reason)
    except (InvalidSchedule, UnknownQueue) as error:
        raise UsageError(str(error)) from error
    if options.json:
        screen.json(_fill_document(fill))
        return Exit.OK
    screen.line(f"Back-fill {fill.pk} of {row} begins: taskyard schedules backfills shows how far it is.")
    if not _has_worker(fill.queue):
        screen.note(f"No worker takes queue {fill.queue!r} now: taskyard worker --queues {fill.queue}")
    return Exit.OK


def _find_for(options: argparse.Namespace, actor: Any) -> tuple[Any, str, Any]:
    """A schedule of this tenant's own, or, for an operator, one for several tenants that is filled for it alone."""
    from taskyard.schedules.models import Schedule

    rows = Schedule.objects.all().filter(name=options.name)
    everywhere = actor_of(argparse.Namespace(acts_as=options.acts_as))
    if options.tenant and everywhere.is_for_all and not rows.filter(tenant=options.tenant).exists():
        shared = rows.filter(tenant="", tenants__isnull=False).first()
        if shared is not None:
            return shared, options.tenant, everywhere
    return named_schedule(options, actor), "", actor


def _cancel_backfills(row: Any, screen: Screen, *, actor: Any, reason: str) -> int:
    from taskyard.operations import schedules

    running = row.backfills.filter(next_at__isnull=False)
    ended = sum(schedules.cancel_backfill(actor, fill, reason=reason) for fill in running)
    screen.line(f"Cancelled {ended}; jobs that were written already go on.")
    return Exit.OK if ended else Exit.WRONG


def _show_outlook(outlook: Any, screen: Screen, *, as_json: bool) -> int:
    if as_json:
        screen.json(outlook._asdict())
    else:
        screen.line(
            f"{outlook.to_run:,} due times would run; {outlook.ran_before:,} ran before, "
            f"{outlook.ruled_out:,} are ruled out by a calendar."
        )
    return Exit.OK if outlook.to_run else Exit.WRONG


def list_backfills(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there is none."""
    from django.db.models import Q

    from taskyard.schedules.models import Backfill

    actor = actor_of(options)
    actor.require("view_schedule")
    fills = Backfill.objects.all().select_related("schedule").order_by("-pk")
    if actor.tenant is not None:
        fills = fills.filter(Q(schedule__tenant=actor.tenant) | Q(tenant=actor.tenant))
    rows = list(fills[:_BACKFILLS])
    if options.json:
        screen.json([_fill_document(fill) for fill in rows])
    elif rows:
        screen.table(("ID", "SCHEDULE", "STATE", "DONE", "UNTIL", "RAN", "LEFT ALONE", "JOBS", "ERROR"), [
            (fill.pk, str(fill.schedule), fill.state, f"{fill.progress:.0%}", f"{fill.until:%Y-%m-%d %H:%M}",
             fill.fired, fill.left_alone, fill.jobs, fill.error)
            for fill in rows
        ])  # fmt: skip
    else:
        screen.note("There are no back-fills.")
    return Exit.OK if rows else Exit.WRONG


def _fill_document(fill: Any) -> dict[str, Any]:
    fields = (
        "tenant", "queue", "per_minute", "since", "until", "done_until", "state", "fired", "left_alone", "jobs",
        "error", "created_at", "created_by", "ended_at", "ended_by",
    )  # fmt: skip
    values = {name: getattr(fill, name) for name in fields}
    return {"id": fill.pk, "schedule": str(fill.schedule), "progress": round(fill.progress, 4), **values}


def _has_worker(queue: str) -> bool:
    from taskyard.runtime.models import Worker
    from taskyard.settings import get_settings

    workers = Worker.objects.using(get_settings().database).values_list("queues", flat=True)
    return any(queue in queues for queues in workers)
