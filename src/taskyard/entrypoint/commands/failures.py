"""``taskyard failures``: what stands failed, by what went wrong; mend it or set it aside."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taskyard.entrypoint.arguments import (
    actor_of,
    add_actor,
    add_json,
    add_order,
    add_reason,
    add_tenant,
    count,
    length,
)
from taskyard.entrypoint.commands.jobs import see_to
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, ago, stamp

if TYPE_CHECKING:
    from taskyard.failures.queries import GroupOverview

_STATES = ("open", "snoozed", "resolved")
_BARS = "▁▂▃▄▅▆▇█"
#: Jobs that a group's page names.
_SHOWN = 10


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("failures", help="list, show, retry, discard, snooze, resolve or note failures")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="groups of jobs that stand failed, those that failed last first")
    listing.add_argument("--state", choices=(*_STATES, "any"), default="open", help="default: open")
    listing.add_argument("--task", default="", help="a task's name, or a prefix followed by *")
    listing.add_argument("--limit", type=count, default=20)
    add_tenant(listing)
    add_json(listing)
    add_actor(listing)
    listing.set_defaults(run=list_groups)
    show = _add_verb(verbs, "show", "everything about one group, and the jobs that failed last", show_group)
    add_tenant(show)
    retry = _add_verb(verbs, "retry", "bring all jobs of a group back, each with one more attempt", mend)
    add_reason(retry)
    discard = _add_verb(verbs, "discard", "set all jobs of a group aside as cancelled", mend)
    add_reason(discard, "written into the audit, and kept with each of them")
    for verb in (retry, discard):
        add_order(verb)
        add_tenant(verb)
    snooze = _add_verb(verbs, "snooze", "leave a group out of the list for a while", say)
    until = snooze.add_mutually_exclusive_group(required=True)
    until.add_argument("--for", type=length, dest="length", metavar="LENGTH", help="e.g. 12h or 3d")
    until.add_argument("--until-release", action="store_true", help="until TASKYARD['RELEASE'] changes")
    resolve = _add_verb(verbs, "resolve", "its cause is mended: open it again when it fails again", say)
    reopen = _add_verb(verbs, "reopen", "take back a snooze or a resolve", say)
    note = _add_verb(verbs, "note", "keep a note with a group", say)
    note.add_argument("text", help="in the place of the note before; empty: none")
    for verb in (snooze, resolve, reopen, note):
        add_reason(verb)


def _add_verb(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("group", metavar="GROUP", help="its fingerprint, as the list shows it")
    add_json(parser)
    add_actor(parser)
    parser.set_defaults(run=run)
    return parser


def list_groups(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there is none."""
    from taskyard.failures.queries import GroupFilter
    from taskyard.operations import failures as verbs

    state = "" if options.state == "any" else options.state
    wanted = GroupFilter(state=state, task=options.task, empty=options.state == "any")
    groups = verbs.list_(actor_of(options), wanted, limit=options.limit)
    if options.json:
        screen.json(groups)
    elif groups:
        _table(screen, groups, dt.datetime.now(dt.UTC))
    else:
        screen.note("No failure matches.")
    return Exit.OK if groups else Exit.WRONG


def _table(screen: Screen, groups: list[GroupOverview], now: dt.datetime) -> None:
    has_tenants = any(group.tenants for group in groups)
    columns = ["GROUP", "JOBS", *(["TENANTS"] if has_tenants else []), "LAST", "24 HOURS", "STATE", "WHAT"]
    rows = [
        (
            group.fingerprint, group.count, *([group.tenants] if has_tenants else []), ago(group.last_seen_at, now),
            sparkline(group.trend, hours=2), "back" if group.reopened_at else group.state, what(group),
        )
        for group in groups
    ]  # fmt: skip
    screen.table(columns, rows)


def what(group: GroupOverview) -> str:
    """What went wrong, in one line."""
    reason = f" ({group.reason})" if group.reason else ""
    kind = group.error_type.rpartition(".")[2]
    return ": ".join(part for part in (group.task, kind, group.message) if part) + reason


def sparkline(trend: tuple[int, ...], *, hours: int = 1) -> str:
    """Counts as a row of bars, each of so many hours; the lowest is for none at all."""
    counts = [sum(trend[start : start + hours]) for start in range(0, len(trend), hours)]
    most = max(counts, default=0)
    return "".join(_BARS[0] if not n else _BARS[max(1, round(n / most * (len(_BARS) - 1)))] for n in counts)


def show_group(options: argparse.Namespace, screen: Screen) -> int:
    """Show one; 1 if there is none."""
    from taskyard.jobs.queries import JobFilter
    from taskyard.operations import failures as verbs
    from taskyard.operations import jobs as of_jobs

    actor, now = actor_of(options), dt.datetime.now(dt.UTC)
    group = verbs.show(actor, options.group)
    wanted = JobFilter(group=group.fingerprint)
    jobs = of_jobs.list_(actor, wanted, limit=_SHOWN) if actor.may("view_job") else []
    if options.json:
        screen.json({**{name: getattr(group, name) for name in group.__slots__}, "jobs": jobs})
        return Exit.OK
    screen.heading(f"{group.task}: {group.error_type}")
    for name, text in _facts(group, now):
        if text:
            screen.line(f"  {screen.paint(name.ljust(12), 'grey')} {text}")
    if jobs:
        screen.line()
        screen.table(
            ("JOB", "TENANT", "TRY", "FAILED", "WHY"),
            [(j.id, j.tenant, f"{j.attempt}/{j.max_attempts}", ago(j.finished_at, now), j.reason) for j in jobs],
        )
    if not actor.sees_payload:
        screen.note("The words of errors are not shown to you.")
    return Exit.OK


def _facts(group: GroupOverview, now: dt.datetime) -> Iterator[tuple[str, str]]:
    yield "message", group.message
    yield "reason", group.reason
    yield "where", " → ".join(group.frames)
    yield "state", _state(group, now)
    tenants = f" of {group.tenants:,} {'tenant' if group.tenants == 1 else 'tenants'}" if group.tenants else ""
    yield "stand failed", f"{group.count:,} {'job' if group.count == 1 else 'jobs'}{tenants}"
    release = f", release {group.first_release}" if group.first_release else ""
    yield "first seen", f"{stamp(group.first_seen_at)} ({ago(group.first_seen_at, now)}){release}"
    if group.last_seen_at:
        yield "last seen", f"{stamp(group.last_seen_at)} ({ago(group.last_seen_at, now)})"
    yield "24 hours", sparkline(group.trend) if any(group.trend) else ""
    yield "note", group.note


def _state(group: GroupOverview, now: dt.datetime) -> str:
    if group.reopened_at:
        return f"{group.state}: back since {stamp(group.reopened_at)} ({ago(group.reopened_at, now)})"
    if group.snoozed_until:
        return f"snoozed until {stamp(group.snoozed_until)}"
    return f"snoozed while release {group.snoozed_release} runs" if group.snoozed_release else group.state


def mend(options: argparse.Namespace, screen: Screen) -> int:
    """Retry or discard what stands failed in a group; 1 if nothing was changed."""
    from taskyard.operations import failures as verbs

    actor = actor_of(options)
    order = verbs.mending(actor, options.verb, options.group, rate=options.rate, reason=options.reason)
    return see_to(options, screen, actor=actor, order=order)


def say(options: argparse.Namespace, screen: Screen) -> int:
    """Snooze, resolve, reopen a group, or note something about it."""
    from taskyard.operations import failures as verbs

    actor, said = actor_of(options), {"reason": options.reason}
    if options.verb == "snooze":
        until = None if options.until_release else dt.datetime.now(dt.UTC) + options.length
        group = verbs.snooze(actor, options.group, until=until, **said)
    elif options.verb == "note":
        group = verbs.note(actor, options.group, options.text, **said)
    else:
        group = getattr(verbs, options.verb)(actor, options.group, **said)
    if options.json:
        screen.json(group)
    else:
        state = _state(group, dt.datetime.now(dt.UTC))
        screen.line("Noted." if options.verb == "note" else f"{group.fingerprint} is {state}.")
    return Exit.OK
