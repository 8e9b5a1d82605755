"""``taskyard schedules sync`` and ``diff``: what the code says, carried to where its schedules are kept."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskyard.entrypoint.arguments import add_json
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen

if TYPE_CHECKING:
    from taskyard.schedules.target import Change, Target

#: What each kind of change means, and which fields are shown with it.
_MEANS = {
    "add": "new", "change": "the code has changed", "revert": "it was edited, the code wins",
    "adopt": "it was edited, and stays", "remove": "the code has it no more",
    "conflict": "left alone", "refuse": "cannot be said there",
}  # fmt: skip
_WITH_FIELDS = ("change", "revert", "adopt")


def add_to(verbs: Any) -> None:
    """Declare the commands."""
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
        screen.json([{"kind": c.kind, "name": c.name, "fields": _seen(c), "reason": c.reason} for c in changes])
        return
    for change in changes:
        screen.line(f"{change.kind:<8} {change.name}  ({change.reason or _MEANS[change.kind]})")
        for field, (before, after) in _seen(change).items() if change.kind in _WITH_FIELDS else ():
            screen.line(f"           {field}: {before!r} -> {after!r}")
    if not changes:
        screen.line("Nothing to do: everything is as the code says.")


def _seen(change: Change) -> dict[str, tuple[Any, Any]]:
    """What differs, without secrets; arguments by position have no names here, so none of them is shown."""
    from taskyard.jobs.redaction import REDACTED, redact

    def shown(field: str, value: Any) -> Any:
        return [REDACTED for _ in value] if field == "args" and isinstance(value, (list, tuple)) else redact(value)

    return {field: (shown(field, old), shown(field, new)) for field, (old, new) in change.fields.items()}


def _print(target: Target, screen: Screen) -> int:
    from taskyard.schedules.target import Item

    wanted = target.wanted()
    for one in wanted:
        if isinstance(one, Item):
            screen.line(target.shown(one).rstrip("\n"))
        else:
            screen.note(f"{one.kind:<8} {one.name}  ({one.reason})")
    return Exit.OK if all(isinstance(one, Item) for one in wanted) else Exit.WRONG
