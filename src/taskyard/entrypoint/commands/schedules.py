"""``taskyard schedules``: what runs by the clock, what ran, what did not and why."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from taskyard.entrypoint.arguments import (
    BY_HAND,
    NOW,
    actor_of,
    add_actor,
    add_json,
    add_reason,
    add_tenant,
    count,
    due,
    length,
    named_schedule,
)  # fmt: skip
from taskyard.entrypoint.commands.backfills import add_to as add_backfills_to
from taskyard.entrypoint.commands.sync import add_to as add_sync_to
from taskyard.entrypoint.failures import Exit
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
    add_actor(listing)
    listing.set_defaults(run=list_schedules)
    show = _add_verb(verbs, "show", "what one says, and its last decisions with their reasons")
    add_json(show)
    show.set_defaults(run=show_schedule)
    upcoming = _add_verb(verbs, "next", "when one is due next")
    upcoming.add_argument("-n", type=count, default=10, dest="count", metavar="N", help="how many (default: 10)")
    add_json(upcoming)
    upcoming.set_defaults(run=show_next)
    add_sync_to(verbs)
    add_import_to(verbs)
    run = _add_verb(verbs, "run", "run one now; its overlap policy holds")
    run.add_argument(
        "--due", type=due, default=None, metavar="WHEN",
        help="for clocks: decide what is due, each due time once; now, the time (ISO), or job:NAME of a CronJob's job",
    )  # fmt: skip
    add_reason(run)
    run.set_defaults(run=run_schedule)
    pause = _add_verb(verbs, "pause", "run it no more until it is resumed; what was due meanwhile is recorded")
    pause.add_argument("--for", type=length, default=None, dest="span", metavar="AGE", help="for so long, e.g. 2h")
    add_reason(pause, "shown wherever somebody asks why it did not run")
    pause.set_defaults(run=pause_schedule)
    resume = _add_verb(verbs, "resume", "run it again, from its next due time on")
    add_reason(resume)
    resume.set_defaults(run=resume_schedule)
    enable = _add_verb(verbs, "enable", "decide its due times again, from the next one on")
    add_reason(enable)
    enable.set_defaults(run=enable_schedule)
    disable = _add_verb(verbs, "disable", "decide nothing: its due times leave no trace until it is enabled")
    add_reason(disable)
    disable.set_defaults(run=disable_schedule)
    add_backfills_to(verbs)


def _add_verb(verbs: Any, verb: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(verb, help=text, description=text)
    parser.add_argument("name", metavar="NAME")
    add_tenant(parser)
    add_actor(parser)
    return parser


def list_schedules(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there is none."""
    from django.db.models import F

    from taskyard.operations import schedules

    actor, now = actor_of(options), dt.datetime.now(dt.UTC)
    rows = list(schedules.list_(actor).order_by(F("next_at").asc(nulls_last=True), "name"))
    if options.json:
        screen.json([_document(row, now, actor) for row in rows])
    elif rows:
        columns = ("NAME", "TENANT", "STATE", "NEXT", "LAST", "TASK", "WHEN")
        screen.table(columns, [
            (row.name, row.tenant, state_of(row, now), ago(row.next_at, now), ago(row.last_at, now), row.task, brief)
            for row, brief in zip(rows, map(_briefly, rows), strict=True)
        ])  # fmt: skip
    else:
        screen.note("There is no schedule. taskyard schedules sync makes those of the code.")
    return Exit.OK if rows else Exit.WRONG


def show_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Show one."""
    from taskyard.schedules.models import Occurrence

    actor, now = actor_of(options), dt.datetime.now(dt.UTC)
    actor.require("view_schedule")
    row = named_schedule(options, actor)
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
        screen.json({**_document(row, now, actor), "decisions": decisions})
        return Exit.OK
    screen.heading(str(row))
    screen.line(f"  {_when(row)}")
    args, kwargs = _arguments(row)
    given = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    call = ", ".join(given) if actor.sees_payload else "…"
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
    actor = actor_of(options)
    actor.require("view_schedule")
    row = named_schedule(options, actor)
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


def run_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Run it; 1 if its overlap policy is against it. For a clock: 1 only if what is due could not be decided."""
    from taskyard.operations import schedules

    actor = actor_of(options)
    # Before it is looked for: whoever may not run one is not told which there are.
    actor.require("run_schedule")
    if options.due is not None:
        return _run_due(options, screen, actor)
    occurrence = schedules.run(actor, named_schedule(options, actor), reason=options.reason)
    _show_decision(occurrence, screen)
    return Exit.OK if occurrence.decision == "fired" else Exit.WRONG


def _run_due(options: argparse.Namespace, screen: Screen, actor: Any) -> int:
    from taskyard.operations import schedules
    from taskyard.schedules.trigger import trigger

    now = dt.datetime.now(dt.UTC)
    if options.due == BY_HAND:
        decided = [schedules.run_declared(actor, options.name, reason=options.reason)]
    else:
        # A clock, and no person: what it brings about is told by the decisions.
        actor.require_all_tenants("run_schedule")
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
    from taskyard.operations import schedules

    actor = actor_of(options)
    actor.require("pause_schedule")
    row = named_schedule(options, actor)
    until = None if options.span is None else dt.datetime.now(dt.UTC) + options.span
    schedules.pause(actor, row, until=until, reason=options.reason)
    screen.line(f"Paused {row}{f' until {stamp(until)}' if until else ''}.")
    return Exit.OK


def resume_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Let it run again."""
    from taskyard.operations import schedules

    actor = actor_of(options)
    actor.require("pause_schedule")
    row = named_schedule(options, actor)
    schedules.resume(actor, row, reason=options.reason)
    screen.line(f"Resumed {row}; next {ago(row.next_at, dt.datetime.now(dt.UTC))}.")
    return Exit.OK


def enable_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Decide its due times again."""
    from taskyard.operations import schedules

    actor = actor_of(options)
    actor.require("change_schedule")
    row = named_schedule(options, actor)
    schedules.enable(actor, row, reason=options.reason)
    screen.line(f"Enabled {row}; next {ago(row.next_at, dt.datetime.now(dt.UTC))}.")
    return Exit.OK


def disable_schedule(options: argparse.Namespace, screen: Screen) -> int:
    """Decide nothing of it."""
    from taskyard.operations import schedules

    actor = actor_of(options)
    actor.require("change_schedule")
    row = named_schedule(options, actor)
    schedules.disable(actor, row, reason=options.reason)
    screen.line(f"Disabled {row}: its due times leave no trace until it is enabled again.")
    return Exit.OK


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


def state_of(row: Any, now: dt.datetime) -> str:
    """What one does, in a word."""
    if row.error:
        return "parked"
    if not row.enabled:
        return "disabled"
    if row.paused_at is not None and (row.paused_until is None or row.paused_until > now):
        return "paused"
    return "triggered" if row.is_triggered else "on" if row.next_at else "over"


def _arguments(row: Any) -> tuple[list[Any], dict[str, Any]]:
    from taskyard.jobs.redaction import shown_arguments

    return shown_arguments(row.task, args=row.args, kwargs=row.kwargs)


def _document(row: Any, now: dt.datetime, actor: Any) -> dict[str, Any]:
    fields = (
        "name", "tenant", "origin", "description", "task", "args", "kwargs", "queue", "priority", "recurrence",
        "overlap", "catch_up", "enabled", "paused_until", "paused_by", "pause_reason", "next_at", "last_at", "runs",
        "version", "error",
    )  # fmt: skip
    args, kwargs = _arguments(row) if actor.sees_payload else (None, None)
    about = {"args": args, "kwargs": kwargs, "state": state_of(row, now), "when": _when(row)}
    return {**{name: getattr(row, name) for name in fields}, **about}
