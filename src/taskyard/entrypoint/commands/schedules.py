"""``taskyard schedules``: what runs by the clock, what ran, what did not and why."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskyard.entrypoint.arguments import BY_HAND, NOW, add_json, add_tenant, count, due, length, since
from taskyard.entrypoint.commands.limits import user
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.imports.schedules import add_to as add_import_to
from taskyard.entrypoint.screen import Screen, ago, stamp

if TYPE_CHECKING:
    from taskyard.schedules.target import Change, Target

#: Decisions that ``show`` shows, and back-fills that ``backfills`` does.
_DECISIONS, _BACKFILLS = 10, 50
#: What each kind of change means, and which fields are shown with it.
_MEANS = {
    "add": "new", "change": "the code has changed", "revert": "it was edited, the code wins",
    "adopt": "it was edited, and stays", "remove": "the code has it no more",
    "conflict": "left alone", "refuse": "cannot be said there",
}  # fmt: skip
_WITH_FIELDS = ("change", "revert", "adopt")


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("schedules", help="list, show, look ahead, run now, pause or resume schedules")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every schedule, the next due first")
    add_tenant(listing)
    add_json(listing)
    listing.set_defaults(run=list_schedules)
    show = _add_verb(verbs, "show", "what one says, and its last decisions with their reasons")
    add_json(show)
    show.set_defaults(run=show_schedule)
    upcoming = _add_verb(verbs, "next", "when one is due next")
    upcoming.add_argument("-n", type=count, default=10, dest="count", metavar="N", help="how many (default: 10)")
    add_json(upcoming)
    upcoming.set_defaults(run=show_next)
    _add_sync(verbs)
    add_import_to(verbs)
    run = _add_verb(verbs, "run", "run one now; its overlap policy holds")
    run.add_argument(
        "--due", type=due, default=None, metavar="WHEN",
        help="for clocks: decide what is due, each due time once; now, the time (ISO), or job:NAME of a CronJob's job",
    )  # fmt: skip
    run.set_defaults(run=run_schedule)
    pause = _add_verb(verbs, "pause", "run it no more until it is resumed; what was due meanwhile is recorded")
    pause.add_argument("--for", type=length, default=None, dest="span", metavar="AGE", help="for so long, e.g. 2h")
    pause.add_argument("--reason", default="", help="shown wherever somebody asks why it did not run")
    pause.set_defaults(run=pause_schedule)
    _add_verb(verbs, "resume", "run it again, from its next due time on").set_defaults(run=resume_schedule)
    _add_backfill(verbs)
    fills = verbs.add_parser("backfills", help="back-fills, the latest first, and how far they are")
    add_tenant(fills)
    add_json(fills)
    fills.set_defaults(run=list_backfills)


def _add_backfill(verbs: Any) -> None:
    fill = _add_verb(verbs, "backfill", "run due times of the past that did not run, a few at a time, each once")
    fill.add_argument("--from", type=since, default=None, dest="since", metavar="WHEN",
                      help="the first instant: 2026-01-31, 2026-01-31T08:00 (UTC), or 30d: so long ago")  # fmt: skip
    fill.add_argument("--to", type=since, default=None, dest="until", metavar="WHEN", help="the last (default: now)")
    fill.add_argument("--queue", default="backfill", help="queue of its jobs (default: backfill)")
    fill.add_argument("--rate", type=float, default=60.0, metavar="N", help="most due times a minute (default: 60)")
    fill.add_argument("--forgotten", action="store_true",
                      help="also those so long ago that nobody knows whether they ran")  # fmt: skip
    fill.add_argument("--dry-run", action="store_true", help="count what would run, and write nothing")
    fill.add_argument("--cancel", action="store_true", help="feed no more of those of this schedule that go on")
    add_json(fill)
    fill.set_defaults(run=backfill_schedule)


def _add_sync(verbs: Any) -> None:
    text = "make a target as the code says; 1 if something is refused, or in somebody's way"
    add_sync_options(verbs.add_parser("sync", help=text, description=text))
    text = "what sync would do; 1 if anything"
    diff = verbs.add_parser("diff", help=text, description=text)
    _add_target(diff)
    diff.set_defaults(run=diff_target)


def add_sync_options(parser: argparse.ArgumentParser) -> None:
    """The options of a sync."""
    _add_target(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done; 1 if anything")
    parser.add_argument("--print", action="store_true", help="print what belongs there, and write nothing")
    parser.set_defaults(run=sync_target)


def _add_target(parser: argparse.ArgumentParser) -> None:
    from taskyard.schedules.targets import ALIASES, BUILTIN, TARGETS

    names = ", ".join(sorted([*TARGETS, *ALIASES]))
    parser.add_argument("--backend", default=BUILTIN, metavar="TARGET", help=f"one of {names} (default: {BUILTIN})")
    parser.add_argument("--adopt", action="store_true", help="leave as it is what somebody has edited there")
    add_json(parser)


def _add_verb(verbs: Any, verb: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(verb, help=text, description=text)
    parser.add_argument("name", metavar="NAME")
    add_tenant(parser)
    return parser


def list_schedules(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there is none."""
    from django.db.models import F

    from taskyard.schedules.models import Schedule

    rows = list(Schedule.objects.visible_to(options.tenant).order_by(F("next_at").asc(nulls_last=True), "name"))
    now = dt.datetime.now(dt.UTC)
    if options.json:
        screen.json([_document(row, now) for row in rows])
    elif rows:
        columns = ("NAME", "TENANT", "STATE", "NEXT", "LAST", "TASK", "WHEN")
        screen.table(columns, [
            (row.name, row.tenant, state_of(row, now), ago(row.next_at, now), ago(row.last_at, now), row.task,
             _when(row))
            for row in rows
        ])  # fmt: skip
    else:
        screen.note("No schedule matches.")
    return Exit.OK if rows else Exit.WRONG


def show_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Show one."""
    from taskyard.schedules.models import Occurrence

    row, now = _find(options), dt.datetime.now(dt.UTC)
    last = list(Occurrence.objects.all().filter(schedule=row).order_by("-due_at", "tenant")[:_DECISIONS])
    if options.json:
        fields = (
            "due_at",
            "tenant",
            "effective_at",
            "decided_at",
            "decision",
            "reason",
            "job",
            "version",
            "actor",
            "mark",
        )
        decisions = [{name: getattr(decision, name) for name in fields} for decision in last]
        screen.json({**_document(row, now), "decisions": decisions})
        return Exit.OK
    screen.heading(str(row))
    screen.line(f"  {_when(row)}")
    call = ", ".join([*map(repr, row.args), *(f"{name}={value!r}" for name, value in row.kwargs.items())])
    screen.line(f"  runs {row.task}({call}), overlap {row.overlap}, catch-up {row.catch_up}, origin {row.origin}")
    screen.line(f"  {state_of(row, now)}, next {ago(row.next_at, now)}, version {row.version}")
    for text in filter(None, (row.description, row.error, f"paused: {row.pause_reason}" if row.pause_reason else "")):
        screen.line(f"  {text}")
    if last:
        screen.line()
        screen.table(("DUE", "DECISION", "REASON", "JOB"), [
            (each.due_at.strftime("%Y-%m-%d %H:%M:%S"), each.decision,
             each.reason if each.tenant == row.tenant else f"{each.tenant}: {each.reason}", each.job or "")
            for each in last
        ])  # fmt: skip
    return Exit.OK


def show_next(options: argparse.Namespace, screen: Screen) -> int:
    """Show when one is due next; 1 if never."""
    row = _find(options)
    if not row.enabled or row.error:
        screen.note(f"{row} runs no more: {row.error or 'it is disabled'}.")
        return Exit.WRONG
    dues = row.preview(options.count)
    if options.json:
        screen.json([{"at": due.at, "nominal": due.nominal, "mark": due.mark} for due in dues])
    else:
        marks = {"gap": "the clocks skip this time of day", "fold": "the clocks show this time twice"}
        rows = [
            (f"{due.at:%Y-%m-%d %H:%M:%S}", f"{due.nominal:%a %Y-%m-%d %H:%M:%S}", marks.get(due.mark, ""))
            for due in dues
        ]
        screen.table(("UTC", "LOCAL", ""), rows)
    return Exit.OK if dues else Exit.WRONG


def diff_target(options: argparse.Namespace, screen: Screen) -> int:
    """Show what differs."""
    from taskyard.schedules.target import target_named

    changes = target_named(options.backend).compare(adopt=options.adopt)
    _show(screen, changes, as_json=options.json)
    return Exit.WRONG if changes else Exit.OK


def sync_target(options: argparse.Namespace, screen: Screen) -> int:
    """Make them the same; 1 if something is left that only a person can do."""
    from taskyard.schedules.target import STANDING, WRITTEN, target_named

    if options.dry_run:
        return diff_target(options, screen)
    target = target_named(options.backend)
    if options.print:
        return _print(target, screen)
    changes = target.sync(adopt=options.adopt)
    _show(screen, changes, as_json=options.json)
    hint = target.hint() if any(change.kind in WRITTEN for change in changes) else ""
    if hint:
        screen.note(hint)
    return Exit.WRONG if any(change.kind in STANDING for change in changes) else Exit.OK


def _show(screen: Screen, changes: Sequence[Change], *, as_json: bool) -> None:
    if as_json:
        screen.json([{"kind": c.kind, "name": c.name, "fields": c.fields, "reason": c.reason} for c in changes])
        return
    for change in changes:
        screen.line(f"{change.kind:<8} {change.name}  ({change.reason or _MEANS[change.kind]})")
        for field, (before, after) in change.fields.items() if change.kind in _WITH_FIELDS else ():
            screen.line(f"           {field}: {before!r} -> {after!r}")
    if not changes:
        screen.line("Nothing to do: everything is as the code says.")


def _print(target: Target, screen: Screen) -> int:
    from taskyard.schedules.target import Item

    wanted = target.wanted()
    for one in wanted:
        if isinstance(one, Item):
            screen.line(target.shown(one).rstrip("\n"))
        else:
            screen.note(f"{one.kind:<8} {one.name}  ({one.reason})")
    return Exit.OK if all(isinstance(one, Item) for one in wanted) else Exit.WRONG


def run_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Run it; 1 if its overlap policy is against it. For a clock: 1 only if what is due could not be decided."""
    if options.due is not None:
        return _run_due(options, screen)
    occurrence = _find(options).run_now(by=user())
    _show_decision(occurrence, screen)
    return Exit.OK if occurrence.decision == "fired" else Exit.WRONG


def _run_due(options: argparse.Namespace, screen: Screen) -> int:
    from taskyard.schedules.trigger import run_by_hand, trigger

    now = dt.datetime.now(dt.UTC)
    if options.due == BY_HAND:
        decided = [run_by_hand(options.name, by=user(), now=now)]
    else:
        decided = trigger(options.name, due=None if options.due == NOW else options.due, now=now)
    for occurrence in decided:
        _show_decision(occurrence, screen)
    if not decided:
        screen.line("Nothing is due that is not decided already.")
    return Exit.WRONG if any(occurrence.decision == "errored" for occurrence in decided) else Exit.OK


def _show_decision(occurrence: Any, screen: Screen) -> None:
    if occurrence.decision != "fired":
        screen.note(f"{occurrence.decision.capitalize()}: {occurrence.reason}.")
    elif occurrence.job:
        screen.line(f"Job {occurrence.job}.")
    else:
        screen.line(f"{occurrence.jobs} jobs, one for each tenant.")


def pause_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Hold it back."""
    row = _find(options)
    until = None if options.span is None else dt.datetime.now(dt.UTC) + options.span
    row.pause(until=until, reason=options.reason, by=user())
    screen.line(f"Paused {row}{f' until {stamp(until)}' if until else ''}.")
    return Exit.OK


def resume_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Let it run again."""
    row = _find(options)
    row.resume(by=user())
    screen.line(f"Resumed {row}; next {ago(row.next_at, dt.datetime.now(dt.UTC))}.")
    return Exit.OK


def backfill_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Start one, say what it would do, or cancel; 1 if there is nothing to run or to cancel."""
    from taskyard.errors import InvalidSchedule, UnknownQueue
    from taskyard.schedules import backfill

    row, tenant = _find_for(options)
    if options.cancel:
        return _cancel_backfills(row, screen)
    if options.since is None:
        raise UsageError("From when? Say --from WHEN (or --cancel).")
    wish = backfill.Wish(
        since=options.since, until=options.until, tenant=tenant, queue=options.queue, per_minute=options.rate,
        forgotten=options.forgotten,
    )  # fmt: skip
    try:
        if options.dry_run:
            return _show_outlook(backfill.look_ahead(row, wish), screen, as_json=options.json)
        fill = backfill.start(row, wish, by=user())
    except (InvalidSchedule, UnknownQueue) as error:
        raise UsageError(str(error)) from error
    if options.json:
        screen.json(_fill_document(fill))
        return Exit.OK
    screen.line(f"Back-fill {fill.pk} of {row} begins: taskyard schedules backfills shows how far it is.")
    if not _has_worker(fill.queue):
        screen.note(f"No worker takes queue {fill.queue!r} now: taskyard worker --queues {fill.queue}")
    return Exit.OK


def _find_for(options: argparse.Namespace) -> tuple[Any, str]:
    """A schedule of this tenant's own, or one for several tenants that is filled for this one alone."""
    from taskyard.schedules.models import Schedule

    rows = Schedule.objects.all().filter(name=options.name)
    if options.tenant and not rows.filter(tenant=options.tenant).exists():
        shared = rows.filter(tenant="", tenants__isnull=False).first()
        if shared is not None:
            return shared, options.tenant
    return _find(options), ""


def _cancel_backfills(row: Any, screen: Screen) -> int:
    ended = sum(fill.cancel(by=user()) for fill in row.backfills.filter(next_at__isnull=False))
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

    fills = Backfill.objects.all().select_related("schedule").order_by("-pk")
    if options.tenant is not None:
        fills = fills.filter(Q(schedule__tenant=options.tenant) | Q(tenant=options.tenant))
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


def _find(options: argparse.Namespace) -> Any:
    from taskyard.schedules.models import Schedule

    rows = list(Schedule.objects.visible_to(options.tenant).filter(name=options.name)[:2])
    if not rows:
        raise UsageError(f"There is no schedule {options.name!r}: taskyard schedules list shows them.")
    if len(rows) > 1:
        raise UsageError(f"Several tenants have a schedule {options.name!r}: name one with --tenant.")
    return rows[0]


def _when(row: Any) -> str:
    from taskyard.errors import TaskyardError
    from taskyard.schedules.recurrence import explain, recurrence_from_json

    try:
        return explain(recurrence_from_json(row.recurrence))
    except TaskyardError:
        return "nobody can tell"


def state_of(row: Any, now: dt.datetime) -> str:
    """What one does, in a word."""
    if row.error:
        return "parked"
    if not row.enabled:
        return "disabled"
    if row.paused_at is not None and (row.paused_until is None or row.paused_until > now):
        return "paused"
    return "triggered" if row.is_triggered else "on" if row.next_at else "over"


def _document(row: Any, now: dt.datetime) -> dict[str, Any]:
    fields = (
        "name", "tenant", "origin", "description", "task", "args", "kwargs", "queue", "priority", "recurrence",
        "overlap", "catch_up", "enabled", "paused_until", "paused_by", "pause_reason", "next_at", "last_at", "runs",
        "version", "error",
    )  # fmt: skip
    return {**{name: getattr(row, name) for name in fields}, "state": state_of(row, now), "when": _when(row)}
