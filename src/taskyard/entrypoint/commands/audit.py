"""``taskyard audit``: what was done by whom."""

from __future__ import annotations

import argparse
from typing import Any

from taskyard.entrypoint.arguments import actor_of, add_actor, add_json, add_tenant, count, since
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, stamp

_FIELDS = (
    "id", "at", "who", "user", "tenant", "verb", "kind", "target", "count", "before", "after", "said", "reason", "via",
    "address", "job",
)  # fmt: skip


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("audit", help="what was done by whom")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="entries, the latest first")
    listing.add_argument("--who", default="", metavar="NAME", help="a user, or whoever else acted")
    listing.add_argument("--kind", default="", help="job, queue, tenant, worker, schedule")
    # "verb" is the command's own word.
    listing.add_argument("--verb", dest="asked_verb", default="", help="retry, pause and so on")
    listing.add_argument("--target", default="", metavar="NAME", help="an id or a name")
    listing.add_argument("--via", default="", metavar="WHERE", help="cli, admin, api")
    listing.add_argument("--since", type=since, default=None, metavar="WHEN", help="since (2h, 30d, 2026-01-31)")
    listing.add_argument("--limit", type=count, default=20)
    add_tenant(listing)
    add_json(listing)
    add_actor(listing)
    listing.set_defaults(run=list_entries)


def list_entries(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if none matches."""
    from taskyard.operations import audit

    wanted = audit.AuditFilter(
        who=options.who, kind=options.kind, verb=options.asked_verb, target=options.target, via=options.via,
        since=options.since,
    )  # fmt: skip
    entries = audit.list_(actor_of(options), wanted, limit=options.limit)
    if options.json:
        screen.json([{name: getattr(entry, name) for name in _FIELDS} for entry in entries])
    elif entries:
        screen.table(("WHEN", "WHO", "VIA", "VERB", "TARGET", "TENANT", "COUNT", "REASON"), [
            (stamp(each.at), each.who, each.via, f"{each.kind} {each.verb}", each.target, each.tenant,
             "" if each.count is None else each.count, each.reason)
            for each in entries
        ])  # fmt: skip
    else:
        screen.note("No entry matches.")
    return Exit.OK if entries else Exit.WRONG
