"""Verbs about tokens of the HTTP API. One can do no more than whoever made it, and than its user, if it has one.

Its secret is shown once; stored is its SHA-256. That is enough for 256 random bits, which nobody finds by trying.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.utils import timezone

from taskyard.enqueue import control_alias
from taskyard.errors import NotAllowed, NotFound, TaskyardError
from taskyard.jobs.pages.keyset import Page, page_of, place_from
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.entries import Deed, together, write_down
from taskyard.operations.acting.verbs import all_verbs, verb
from taskyard.operations.models import ApiToken
from taskyard.tenancy.context import current_tenant

#: The scope for every permission to look, but payload and tokens.
READ = "read"
#: How each begins, so that scanners of repositories can tell one.
MARK = "tky_"
_PREFIX_LETTERS, _SECRET_BYTES = 8, 32
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
#: That it is used is written down at most so often.
_COALESCED = dt.timedelta(minutes=1)


@dataclasses.dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made."""

    row: ApiToken
    #: To be shown to whoever asked for it, once.
    secret: str = dataclasses.field(repr=False)


@verb("apitoken", "view_apitoken", reads=True)
def list_(actor: Actor) -> list[ApiToken]:
    """Those that exist for the actor, the latest first; of none of them the secret."""
    return list(_visible(actor).order_by("-created_at", "-id"))


def page(actor: Actor, *, text: str = "", after: str = "", limit: int = 50) -> Page[ApiToken]:
    """The same as a page of a list of any length; ``text``: the part of one that is shown, or how its name begins."""
    actor.require("view_apitoken")
    wanted = Q(prefix=text) | Q(name__startswith=text) if text else Q()
    place = place_from(after, ApiToken, order=("id",)) if after else None
    return page_of(_visible(actor), ("id",), wanted=wanted, after=place, limit=limit)


def find(actor: Actor, token: int) -> ApiToken:
    """One of them by its primary key; raises :class:`~taskyard.errors.NotFound`."""
    actor.require("view_apitoken")
    row: ApiToken | None = _visible(actor).filter(pk=token).first()
    if row is None:
        raise NotFound("token", token)
    return row


@verb("apitoken", "add_apitoken")
def create(
    actor: Actor, /, name: str, *, scopes: Sequence[str], tenant: str | None = None, user: Any = None,
    expires_at: dt.datetime | None = None,
) -> NewToken:  # fmt: skip
    """Makes a token with these scopes: codenames of permissions, or ``read`` for all that only look.

    The actor must have each of them itself. ``tenant``: whose things it is for; an actor of a tenant makes those of its
    own alone. ``user``: it acts in this user's name, and never does what that one may not. Only operators of all
    tenants name somebody else. Raises :class:`~taskyard.errors.TaskyardError` for scopes that are none.
    """
    for each in sorted(granted(scopes)):
        actor.require(each)
    owner = actor.within(tenant).tenant
    if user is not None and str(user.pk) != actor.user and not actor.is_for_all:
        raise NotAllowed(actor.name, "add_apitoken", "a token in another user's name is for operators of all tenants")
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise TaskyardError("A token needs a name of 1 to 100 printable characters.")
    now = timezone.now()
    if expires_at is not None and expires_at <= now:
        raise TaskyardError(f"It would have expired already: {expires_at} is over.")
    prefix = "".join(secrets.choice(_LETTERS) for _ in range(_PREFIX_LETTERS))
    secret = f"{MARK}{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    row = ApiToken(
        name=name, prefix=prefix, digest=_digest(secret), scopes=sorted(set(scopes)), tenant=owner,
        user="" if user is None else str(user.pk), created_at=now, created_by=actor.by, expires_at=expires_at,
    )  # fmt: skip
    with together():
        row.save(using=control_alias(), force_insert=True)
        said = {"name": name, "scopes": row.scopes, "user": row.user, "expires_at": expires_at and str(expires_at)}
        write_down(actor, "apitoken", "create", Deed(target=prefix, tenant=owner or "", said=said))
    return NewToken(row, secret)


@verb("apitoken", "delete_apitoken")
def revoke(actor: Actor, prefix: str, *, reason: str = "") -> bool:
    """Ends a token for good; whether it was good until now. ``prefix``: the part of it that the list shows."""
    with together():
        row = _visible(actor).select_for_update().filter(prefix=prefix).first()
        if row is None:
            raise NotFound("token", prefix)
        was_good = row.revoked_at is None
        if was_good:
            row.revoked_at = timezone.now()
            row.save(using=control_alias(), update_fields=["revoked_at"])
        deed = Deed(
            target=prefix, tenant=row.tenant or "", count=int(was_good), before={"revoked": not was_good},
            after={"revoked": True}, reason=reason,
        )  # fmt: skip
        write_down(actor, "apitoken", "revoke", deed)
    return was_good


def granted(scopes: Collection[str]) -> frozenset[str]:
    """The permissions that scopes stand for; raises :class:`~taskyard.errors.TaskyardError` for one that is none."""
    every = permissions()
    odd = sorted(set(scopes) - every - {READ})
    if odd or not scopes:
        what = f"{odd[0]!r} is no scope" if odd else "A token needs scopes"
        raise TaskyardError(f"{what}: there are {READ}, {', '.join(sorted(every))}.")
    return _stand_for(scopes)


def _stand_for(scopes: Collection[str]) -> frozenset[str]:
    # A stored one that is none any more opens nothing.
    that_look = permissions() - {"view_payload", "view_apitoken"} if READ in scopes else frozenset[str]()
    return frozenset(scopes) - {READ} | frozenset(name for name in that_look if name.startswith("view_"))


def permissions() -> frozenset[str]:
    """Codenames of all permissions that verbs ask for."""
    return frozenset(name for each in all_verbs() for name in each.permissions) | {"view_payload"}


def is_revoked(prefix: str) -> bool:
    """Whether somebody ended a token, by its row or without. One that expired asks for nothing new, and that is all."""
    return not _rows().filter(prefix=prefix, revoked_at=None).exists()


def actor_of(secret: str, *, via: str, address: str = "") -> Actor | None:
    """Who acts by a token; None for one that is unknown, revoked, expired, or whose user is gone or inactive.

    A token of a tenant, and one of a user, can do nothing where another tenant is current.
    """
    now = timezone.now()
    prefix = secret.removeprefix(MARK)[:_PREFIX_LETTERS]
    row: ApiToken | None = _rows().filter(prefix=prefix).first() if prefix.isascii() and prefix.isalnum() else None
    if row is None or not hmac.compare_digest(row.digest, _digest(secret)) or not row.is_good(now):
        return None
    actor = _of_user(row, via, address) if row.user else _of_nobody(row, via, address)
    if actor is not None and (row.last_used_at is None or row.last_used_at < now - _COALESCED):
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - _COALESCED)
        _rows().filter(stale, pk=row.pk).update(last_used_at=now)
    return actor


def _of_user(row: ApiToken, via: str, address: str) -> Actor | None:
    user = get_user_model()._default_manager.filter(pk=row.user).first()
    if user is None or not user.is_active:
        return None
    scopes, own = _stand_for(row.scopes), Actor.of_user(user, via=via, address=address)

    def may(codename: str) -> bool:
        return codename in scopes and own.may(codename)

    try:
        return dataclasses.replace(own.within(row.tenant), may=may, token=row.prefix)
    except NotFound:
        # Its user has moved to another tenant.
        return None


def _of_nobody(row: ApiToken, via: str, address: str) -> Actor:
    current, scopes = current_tenant(), _stand_for(row.scopes)
    is_elsewhere = bool(current) and row.tenant not in (None, current)
    tenant = row.tenant if row.tenant is not None else current or None
    may = frozenset[str]().__contains__ if is_elsewhere else scopes.__contains__
    name = f"token {row.prefix} ({row.name})"
    return Actor(name=name, tenant=tenant, token=row.prefix, via=via, address=address, may=may)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _rows() -> Any:
    return ApiToken.objects.using(control_alias())


def _visible(actor: Actor) -> Any:
    return _rows() if actor.is_for_all else _rows().filter(tenant=actor.tenant)
