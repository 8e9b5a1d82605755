"""``taskyard tokens``: keys to the HTTP API."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from taskyard.entrypoint.arguments import actor_of, add_actor, add_json, add_reason, add_tenant, length
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen, ago

_FIELDS = (
    "prefix", "name", "scopes", "tenant", "user", "created_at", "created_by", "expires_at", "last_used_at",
    "revoked_at",
)  # fmt: skip


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("tokens", help="create, list or revoke keys to the HTTP API")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    text = "make a token; its secret is printed once and stored nowhere"
    create = verbs.add_parser("create", help=text, description=text)
    create.add_argument("name", metavar="NAME", help="what it is for")
    create.add_argument("--scope", action="append", required=True, metavar="SCOPE",
                        help="read, or a permission (retry_job); may be repeated")  # fmt: skip
    create.add_argument(
        "--user", default="", metavar="NAME", help="it acts in this user's name, within its permissions"
    )
    create.add_argument("--expires", type=length, default=None, metavar="LENGTH", help="e.g. 90d (default: never)")
    add_tenant(create)
    add_json(create)
    add_actor(create)
    create.set_defaults(run=create_token)
    listing = verbs.add_parser("list", help="every token; of none of them the secret")
    add_tenant(listing)
    add_json(listing)
    add_actor(listing)
    listing.set_defaults(run=list_tokens)
    revoke = verbs.add_parser("revoke", help="end a token for good")
    revoke.add_argument("prefix", metavar="PREFIX", help="as the list shows it")
    add_tenant(revoke)
    add_reason(revoke)
    add_actor(revoke)
    revoke.set_defaults(run=revoke_token)


def create_token(options: argparse.Namespace, screen: Screen) -> int:
    """Make one and print its secret."""
    from taskyard.operations import tokens

    ends = None if options.expires is None else dt.datetime.now(dt.UTC) + options.expires
    new = tokens.create(
        actor_of(options), options.name, scopes=options.scope, user=_user(options.user), expires_at=ends
    )
    if options.json:
        screen.json({**_document(new.row), "secret": new.secret})
    else:
        screen.note("This is shown once; whoever has it can do what its scopes say.")
        screen.line(new.secret)
    return Exit.OK


def _user(name: str) -> Any:
    from django.contrib.auth import get_user_model

    users = get_user_model()._default_manager
    user = users.filter(**{users.model.USERNAME_FIELD: name}).first() if name else None
    if name and user is None:
        raise UsageError(f"There is no user {name!r}.")
    return user


def list_tokens(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there is none."""
    from taskyard.operations import tokens

    rows, now = tokens.list_(actor_of(options)), dt.datetime.now(dt.UTC)
    if options.json:
        screen.json([_document(row) for row in rows])
    elif rows:
        screen.table(("PREFIX", "NAME", "STATE", "SCOPES", "TENANT", "USED"), [
            (row.prefix, row.name, _state(row, now), ", ".join(row.scopes), "all" if row.tenant is None else row.tenant,
             ago(row.last_used_at, now))
            for row in rows
        ])  # fmt: skip
    else:
        screen.note("There is no token.")
    return Exit.OK if rows else Exit.WRONG


def _state(row: Any, now: dt.datetime) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is None:
        return "good"
    return f"until {row.expires_at:%Y-%m-%d}" if row.is_good(now) else "expired"


def _document(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _FIELDS}


def revoke_token(options: argparse.Namespace, screen: Screen) -> int:
    """End one; 1 if it had been revoked before."""
    from taskyard.operations import tokens

    was_good = tokens.revoke(actor_of(options), options.prefix, reason=options.reason)
    screen.line(f"Revoked {options.prefix}." if was_good else f"{options.prefix} had been revoked before.")
    return Exit.OK if was_good else Exit.WRONG
