"""``taskyard schedules``: what runs by the clock, what ran, what did not and why."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from taskyard.entrypoint.arguments import add_json, add_tenant, count, length
from taskyard.entrypoint.commands.limits import user
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.imports.schedules import add_to as add_import_to
from taskyard.entrypoint.screen import Screen, ago, stamp

#: Decisions that ``show`` shows.
_DECISIONS = 10


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
    _add_sync(verbs, "sync", "make the rows of the code as the code says").set_defaults(run=sync_schedules)
    _add_sync(verbs, "diff", "what sync would do; 1 if anything").set_defaults(run=diff_schedules)
    add_import_to(verbs)
    _add_verb(verbs, "run", "run one now; its overlap policy holds").set_defaults(run=run_schedule)
    pause = _add_verb(verbs, "pause", "run it no more until it is resumed; what was due meanwhile is recorded")
    pause.add_argument("--for", type=length, default=None, dest="span", metavar="AGE", help="for so long, e.g. 2h")
    pause.add_argument("--reason", default="", help="shown wherever somebody asks why it did not run")
    pause.set_defaults(run=pause_schedule)
    _add_verb(verbs, "resume", "run it again, from its next due time on").set_defaults(run=resume_schedule)


def _add_sync(verbs: Any, verb: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(verb, help=text, description=text)
    parser.add_argument("--adopt", action="store_true", help="leave rows as they are that somebody has edited")
    add_json(parser)
    return parser


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
            (row.name, row.tenant, _state(row, now), ago(row.next_at, now), ago(row.last_at, now), row.task, _when(row))
            for row in rows
        ])  # fmt: skip
    else:
        screen.note("No schedule matches.")
    return Exit.OK if rows else Exit.WRONG


def show_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Show one."""
    from taskyard.schedules.models import Occurrence

    row, now = _find(options), dt.datetime.now(dt.UTC)
    last = list(Occurrence.objects.all().filter(schedule=row).order_by("-due_at")[:_DECISIONS])
    if options.json:
        fields = ("due_at", "effective_at", "decided_at", "decision", "reason", "job", "version", "actor", "mark")
        decisions = [{name: getattr(decision, name) for name in fields} for decision in last]
        screen.json({**_document(row, now), "decisions": decisions})
        return Exit.OK
    screen.heading(str(row))
    screen.line(f"  {_when(row)}")
    call = ", ".join([*map(repr, row.args), *(f"{name}={value!r}" for name, value in row.kwargs.items())])
    screen.line(f"  runs {row.task}({call}), overlap {row.overlap}, catch-up {row.catch_up}, origin {row.origin}")
    screen.line(f"  {_state(row, now)}, next {ago(row.next_at, now)}, version {row.version}")
    for text in filter(None, (row.description, row.error, f"paused: {row.pause_reason}" if row.pause_reason else "")):
        screen.line(f"  {text}")
    if last:
        screen.line()
        screen.table(("DUE", "DECISION", "REASON", "JOB"), [
            (each.due_at.strftime("%Y-%m-%d %H:%M:%S"), each.decision, each.reason, each.job or "") for each in last
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


def diff_schedules(options: argparse.Namespace, screen: Screen) -> int:
    """Show what differs."""
    from taskyard.schedules.sources import code

    changes = code.compare(adopt=options.adopt)
    _show_changes(screen, changes, as_json=options.json)
    return Exit.WRONG if changes else Exit.OK


def sync_schedules(options: argparse.Namespace, screen: Screen) -> int:
    """Make them the same; 1 if a row of another origin stands in the way."""
    from taskyard.schedules.sources import code

    changes = code.sync(adopt=options.adopt)
    _show_changes(screen, changes, as_json=options.json)
    return Exit.WRONG if any(change.kind == "conflict" for change in changes) else Exit.OK


_MEANS = {
    "add": "new", "change": "the code has changed", "revert": "it was edited, the code wins",
    "adopt": "it was edited, and stays", "remove": "the code has it no more",
    "conflict": "somebody made one of that name",
}  # fmt: skip


def _show_changes(screen: Screen, changes: list[Any], *, as_json: bool) -> None:
    if as_json:
        screen.json([{"kind": c.kind, "name": c.name, "columns": c.columns} for c in changes])
        return
    for change in changes:
        screen.line(f"{change.kind:<8} {change.name}  ({_MEANS[change.kind]})")
        if change.kind in ("change", "revert", "adopt"):
            for column, (before, after) in change.columns.items():
                screen.line(f"           {column}: {before!r} -> {after!r}")
    if not changes:
        screen.line("Nothing to do: the rows are as the code says.")


def run_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Run it; 1 if its overlap policy is against it."""
    occurrence = _find(options).run_now(by=user())
    if occurrence.decision == "fired":
        screen.line(f"Job {occurrence.job}." if occurrence.job else f"{occurrence.jobs} jobs, one for each tenant.")
        return Exit.OK
    screen.note(f"{occurrence.decision.capitalize()}: {occurrence.reason}.")
    return Exit.WRONG


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


def _state(row: Any, now: dt.datetime) -> str:
    if row.error:
        return "parked"
    if not row.enabled:
        return "disabled"
    if row.paused_at is not None and (row.paused_until is None or row.paused_until > now):
        return "paused"
    return "on" if row.next_at else "over"


def _document(row: Any, now: dt.datetime) -> dict[str, Any]:
    fields = (
        "name", "tenant", "origin", "description", "task", "args", "kwargs", "queue", "priority", "recurrence",
        "overlap", "catch_up", "enabled", "paused_until", "paused_by", "pause_reason", "next_at", "last_at", "runs",
        "version", "error",
    )  # fmt: skip
    return {**{name: getattr(row, name) for name in fields}, "state": _state(row, now), "when": _when(row)}
