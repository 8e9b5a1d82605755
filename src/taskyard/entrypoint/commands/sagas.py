"""``taskyard sagas``: how runs of orchestrators stand and why they wait; retry, skip, undo, resume, signal, fork."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from taskyard.entrypoint.arguments import (
    actor_of,
    add_actor,
    add_json,
    add_reason,
    add_tenant,
    count,
    json_of,
    one_id,
    since,
)
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen, ago, plain
from taskyard.sagas.states import SagaState

_STATES = tuple(state.value for state in SagaState)
#: What is said when a verb is done.
_DONE = {
    "retry": "It is tried again.", "skip": "Skipped.", "resume": "It goes on forward.",
    "compensate": "What was done is undone, once the step in hand has ended.",
    "cancel": "It is cancelled: what was done is undone, once the step in hand has ended.",
}  # fmt: skip


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("sagas", help="list, show, retry, skip, compensate, resume, signal or fork sagas")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="sagas, newest first")
    listing.add_argument("--state", action="append", choices=_STATES, default=[], metavar="STATE",
                         help=f"may be repeated; one of {', '.join(_STATES)}")  # fmt: skip
    listing.add_argument("--name", default="", help="of this orchestrator")
    listing.add_argument("--subject", nargs=2, default=None, metavar=("TYPE", "ID"),
                         help="about this row, e.g. shop.order 17")  # fmt: skip
    listing.add_argument("--since", type=since, default=None, metavar="WHEN", help="started since (2h, 2026-01-31)")
    listing.add_argument("--limit", type=count, default=20)
    _add_rest(listing, list_sagas)
    show = _add_verb(verbs, "show", "why one waits, its timeline, steps, signals and history", show_saga)
    show.add_argument("--history", action="store_true", help="all lines of the history, not the last 15")
    retry = _add_verb(verbs, "retry", "try a step, or its compensation, again: what gave up, or waits to", of_step)
    skip = _add_verb(verbs, "skip", "say that a step, or its compensation, need not be done", of_step)
    for verb in (retry, skip):
        verb.add_argument("step", metavar="STEP")
    add_reason(retry)
    skip.add_argument("--reason", required=True, help="kept with the step, and written into the audit")
    for name, text in (
        ("compensate", "undo what was done, the latest first; of one that has completed as well"),
        ("resume", "have one that needs attention go on forward"),
        ("cancel", "undo what was done, and call it cancelled"),
    ):
        add_reason(_add_verb(verbs, name, text, of_saga))
    _add_signal(verbs)
    _add_fork(verbs)


def _add_signal(verbs: Any) -> None:
    parser = _add_verb(verbs, "signal", "tell it what a step waits for", signal_saga)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--payload", type=json_of(object), default=None, metavar="JSON")
    parser.add_argument("--key", default=None, help="the same key a second time changes nothing")
    add_reason(parser)


def _add_fork(verbs: Any) -> None:
    parser = _add_verb(
        verbs, "fork", "start a new one at a step; what came before it is taken over, nothing is undone", fork_saga
    )
    parser.add_argument("step", metavar="STEP")
    parser.add_argument("--inputs", type=json_of(dict), default=None, metavar="JSON",
                        help="all of them, as a JSON object; default: as they are")  # fmt: skip
    add_reason(parser)


def _add_verb(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("id", metavar="ID")
    _add_rest(parser, run)
    return parser


def _add_rest(parser: argparse.ArgumentParser, run: Any) -> None:
    add_tenant(parser)
    add_json(parser)
    add_actor(parser)
    parser.set_defaults(run=run)


def list_sagas(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if none matches."""
    from taskyard.operations import sagas as verbs
    from taskyard.sagas.reading.queries import SagaFilter

    now = dt.datetime.now(dt.UTC)
    subject = (options.subject[0].lower(), options.subject[1]) if options.subject else None
    wanted = SagaFilter(name=options.name, states=tuple(options.state), subject=subject, since=options.since)
    found = verbs.list_(actor_of(options), wanted, limit=options.limit).rows
    if options.json:
        screen.json(list(found))
    elif found:
        has_tenants = any(saga.tenant for saga in found)
        columns = ["ID", "NAME", *(["TENANT"] if has_tenants else []), "STATE", "STARTED", "NEWS", "WHY"]
        screen.table(columns, [
            (
                saga.id, saga.name, *([saga.tenant] if has_tenants else []), saga.state, ago(saga.created_at, now),
                ago(saga.updated_at, now), _why(saga),
            )
            for saga in found
        ])  # fmt: skip
    else:
        screen.note("No saga matches.")
    return Exit.OK if found else Exit.WRONG


def _why(saga: Any) -> str:
    from taskyard.jobs.queries import reason_of

    return reason_of(saga.stuck) or reason_of(saga.error)


def show_saga(options: argparse.Namespace, screen: Screen) -> int:
    """Show one; 1 if there is none of that id."""
    from taskyard.entrypoint.pages.saga import show
    from taskyard.operations import sagas as verbs

    actor = actor_of(options)
    found = verbs.show(actor, one_id(options.id))
    if options.json:
        blind = {} if actor.sees_payload else {"payload_hidden": True}
        screen.json({**plain(found), "timeline": found.timeline.lanes, **blind})
        return Exit.OK
    show(screen, found, has_whole_history=options.history)
    if not actor.sees_payload:
        screen.note("Inputs, results, payloads of signals and the words of errors are not shown to you.")
    return Exit.OK


def of_step(options: argparse.Namespace, screen: Screen) -> int:
    """Retry or skip a step; 1 if that cannot be, or there is none of that id."""
    from taskyard.operations import sagas as verbs

    act = verbs.retry_step if options.verb == "retry" else verbs.skip_step
    act(actor_of(options), one_id(options.id), options.step, reason=options.reason)
    return _said(options, screen, step=options.step)


def of_saga(options: argparse.Namespace, screen: Screen) -> int:
    """Compensate, resume or cancel one; 1 if that cannot be, or there is none of that id."""
    from taskyard.operations import sagas as verbs

    act = {"compensate": verbs.compensate, "resume": verbs.resume, "cancel": verbs.cancel}[options.verb]
    act(actor_of(options), one_id(options.id), reason=options.reason)
    return _said(options, screen)


def _said(options: argparse.Namespace, screen: Screen, **more: Any) -> int:
    if options.json:
        screen.json({"verb": options.verb, "id": one_id(options.id), **more})
    else:
        screen.line(_DONE[options.verb])
    return Exit.OK


def signal_saga(options: argparse.Namespace, screen: Screen) -> int:
    """Signal one; 0 also if it had that signal already; 1 if it has ended, waits for none such, or is not there."""
    from taskyard.operations import sagas as verbs

    is_new = verbs.signal(
        actor_of(options), one_id(options.id), options.name, options.payload, key=options.key, reason=options.reason
    )
    if options.json:
        screen.json({"verb": "signal", "id": one_id(options.id), "name": options.name, "is_new": is_new})
    else:
        screen.line("Told." if is_new else "It was told that already: the key is the same.")
    return Exit.OK


def fork_saga(options: argparse.Namespace, screen: Screen) -> int:
    """Fork one; prints the new id; 1 if that cannot be, or there is none of that id."""
    from taskyard.operations import sagas as verbs

    try:
        new = verbs.fork(
            actor_of(options), one_id(options.id), options.step, inputs=options.inputs, reason=options.reason
        )
    except TypeError as error:
        raise UsageError(f"--inputs: {error}") from error
    if options.json:
        screen.json({"verb": "fork", "id": one_id(options.id), "step": options.step, "fork": new.id})
    else:
        screen.line(f"{new.id} begins at {options.step!r}: taskyard sagas show {new.id}")
    return Exit.OK
