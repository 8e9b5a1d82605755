"""``taskyard batches``: how far batches are, which members failed, cancelling one."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from taskyard.entrypoint.arguments import actor_of, add_actor, add_json, add_reason, add_tenant, count, one_id
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, ago, bar, duration, plain, stamp

if TYPE_CHECKING:
    from taskyard.batches.queries import Reading
    from taskyard.operations import Actor

_STATES = ("running", "completed", "cancelled")
_WIDTH = 14


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("batches", help="list, show or cancel batches")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="batches, newest first")
    listing.add_argument("--state", action="append", choices=_STATES, default=[], metavar="STATE",
                         help=f"may be repeated; one of {', '.join(_STATES)}")  # fmt: skip
    listing.add_argument("--name", default="")
    listing.add_argument("--limit", type=count, default=20)
    add_tenant(listing)
    add_json(listing)
    add_actor(listing)
    listing.set_defaults(run=list_batches)
    show = _add_verb(verbs, "show", "how far one is, and which of its members failed; a job's id shows its items")
    show.set_defaults(run=show_batch)
    cancel = _add_verb(verbs, "cancel", "cancel all members that have not ended, and the next stage")
    add_reason(cancel)
    cancel.set_defaults(run=cancel_batch)


def _add_verb(verbs: Any, verb: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(verb, help=text, description=text)
    parser.add_argument("id", metavar="ID")
    add_tenant(parser)
    add_json(parser)
    add_actor(parser)
    return parser


def list_batches(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if none matches."""
    from taskyard.batches.queries import BatchFilter
    from taskyard.operations import batches as verbs

    now = dt.datetime.now(dt.UTC)
    wanted = BatchFilter(states=tuple(options.state), name=options.name)
    found = verbs.list_(actor_of(options), wanted, limit=options.limit).rows
    if options.json:
        screen.json([_document(one) for one in found])
    elif found:
        has_tenants = any(one.tenant for one in found)
        columns = ["ID", "NAME", *(["TENANT"] if has_tenants else []), "STATE", "DONE", "OF", "FAILED", "NEWS"]
        screen.table(columns, [
            (
                one.id, one.name, *([one.tenant] if has_tenants else []), _state(one), int(one.current),
                int(one.total or 0), one.failed, ago(one.updated_at, now),
            )
            for one in found
        ])  # fmt: skip
    else:
        screen.note("No batch matches.")
    return Exit.OK if found else Exit.WRONG


def show_batch(options: argparse.Namespace, screen: Screen) -> int:
    """Show one; 1 if there is none of that id."""
    actor, now = actor_of(options), dt.datetime.now(dt.UTC)
    found = _found(actor, one_id(options.id))
    if found is None:
        screen.note(f"There is no batch {options.id}, and no job: it was never committed, or was pruned.")
        return Exit.WRONG
    if options.json:
        screen.json(_document(found))
        return Exit.OK
    screen.heading(f"{found.name}  {found.id}")
    for name, text in _facts(found, now):
        if text:
            screen.line(f"  {screen.paint(name.ljust(_WIDTH), 'grey')} {text}")
    if found.errors:
        screen.line()
        shown = len(found.errors)
        screen.heading("Failed" if shown == found.failed else f"Failed: the first {shown:,} of {found.failed:,}")
        screen.table(("ITEM", "JOB", "ERROR"), [(one.item, one.job, one.error) for one in found.errors], indent="  ")
    return Exit.OK


def _found(actor: Actor, batch_id: uuid.UUID) -> Reading | None:
    from taskyard.errors import NotFound
    from taskyard.operations import batches as verbs

    # Who may see one of the two kinds alone is told of that one.
    kinds = [read for read, may in ((verbs.show, "view_batch"), (verbs.items, "view_job")) if actor.may(may)]
    for read in kinds or [verbs.show]:
        with contextlib.suppress(NotFound):
            return read(actor, batch_id)
    return None


def _facts(found: Any, now: dt.datetime) -> list[tuple[str, str]]:
    share = "" if found.percent is None else f"{bar(found.percent / 100)} {found.percent:.0f} %, "
    of = "" if found.total is None else f" of {found.total:,g}"
    left = found.remaining_seconds
    return [
        ("state", _state(found)),
        ("done", f"{share}{found.current:,g}{of}"),
        ("ended", f"{found.succeeded:,} succeeded, {found.failed:,} failed, {found.cancelled:,} cancelled"),
        ("unfinished", ", ".join(f"{number:,} {state}" for state, number in sorted(found.unfinished.items()))),
        ("rate", f"{found.rate:,.1f} a second" if found.rate else ""),
        ("left", f"about {duration(left)}" if left else ""),
        ("tenant", found.tenant),
        ("started", f"{stamp(found.started_at)} ({ago(found.started_at, now)})" if found.started_at else ""),
        ("last news", ago(found.updated_at, now)),
        ("finished", f"{stamp(found.finished_at)} ({ago(found.finished_at, now)})" if found.finished_at else ""),
    ]


def _state(found: Any) -> str:
    if found.is_stale:
        return f"{found.state}, stale"
    if found.cancel_requested_at and not found.finished_at:
        return f"{found.state}, being cancelled"
    return str(found.state)


def _document(found: Any) -> dict[str, Any]:
    return {
        **plain(found), "percent": found.percent, "rate": found.rate, "remaining_seconds": found.remaining_seconds,
    }  # fmt: skip


def cancel_batch(options: argparse.Namespace, screen: Screen) -> int:
    """Cancel one; 1 if it has ended or there is none."""
    from taskyard.operations import batches as verbs

    batch_id = one_id(options.id)
    verbs.cancel(actor_of(options), batch_id, reason=options.reason)
    if options.json:
        screen.json({"verb": "cancel", "id": batch_id})
    else:
        screen.line("Cancelled. Members that run are asked to stop; the next stage does not start.")
    return Exit.OK
