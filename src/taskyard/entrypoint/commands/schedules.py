"""``taskyard schedules``: what runs by the clock, what ran, what did not and why."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskyard.entrypoint.arguments import BY_HAND, NOW, add_json, add_tenant, count, due, length
from taskyard.entrypoint.commands.limits import user
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen, ago, stamp

if TYPE_CHECKING:
    from taskyard.schedules.target import Change

#: Decisions that ``show`` shows.
_DECISIONS = 10
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
            (row.name, row.tenant, _state(row, now), ago(row.next_at, now), ago(row.last_at, now), row.task, brief)
            for row, brief in zip(rows, map(_briefly, rows), strict=True)
        ])  # fmt: skip
    else:
        screen.note("There is no schedule. taskyard schedules sync makes those of the code.")
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


def run_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Run it; 1 if its overlap policy is against it. For a clock: 1 only if what is due could not be decided."""
    if options.due is not None:
        return _run_due(options, screen)
    occurrence = _find(options).run_now(by=user())
    _show_decision(occurrence, screen)
    return Exit.OK if occurrence.decision == "fired" else Exit.WRONG


def _run_due(options: argparse.Namespace, screen: Screen) -> int:
    from taskyard.schedules.trigger import anchor, trigger

    now = dt.datetime.now(dt.UTC)
    if options.due == BY_HAND:
        decided = [anchor(options.name, now).run_now(by=user())]
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


def _briefly(row: Any) -> str:
    """Without what becomes of it when clocks change: ``show`` has that."""
    return _when(row).partition(";")[0]


def _state(row: Any, now: dt.datetime) -> str:
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
    return {**{name: getattr(row, name) for name in fields}, "state": _state(row, now), "when": _when(row)}
