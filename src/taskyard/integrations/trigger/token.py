"""OpenID Connect tokens, verified offline: the issuer is asked for its keys now and then, and for nothing else."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from taskyard.integrations.trigger.caller import Call, Caller, Refused
from taskyard.trigger_settings import TriggerSettings

_MOST_CHARACTERS = 8_192
_REQUIRED = ["exp", "iat", "iss", "aud"]


def verify(call: Call, settings: TriggerSettings, *, find: Callable[[str], jwt.PyJWK]) -> Caller:
    """Whose token it is; raises :class:`Refused`.

    The due time does not stand in a token. So it must have been made for this delivery, not before its due time, and
    is good for one due time only; see ``TRIGGER["REUSED_TOKENS"]``.
    """
    kind, _, token = call.authorization.partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Refused("there is no bearer token")
    if len(token) > _MOST_CHARACTERS:
        raise Refused("the token is too long")
    claims = _claims(token, call.schedule, settings=settings, find=find)
    subject = _subject(claims, settings.subjects_of(call.schedule))
    if settings.reused_tokens:
        return Caller(subject)
    issued_at = dt.datetime.fromtimestamp(claims["iat"], dt.UTC)
    if issued_at < call.due_at - settings.skew:
        raise Refused("the token is older than the due time it came with, so it was made for another one")
    return Caller(subject, hashlib.sha256(token.encode()).hexdigest()[:16])


def _claims(
    token: str, schedule: str, *, settings: TriggerSettings, find: Callable[[str], jwt.PyJWK]
) -> Mapping[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
        # Looked up before the key: what is refused anyway must not cause a request to the issuer.
        if header.get("alg") not in settings.algorithms:
            raise Refused(f"it is signed with {header.get('alg')!r:.20}, which ALGORITHMS does not list")
        key = find(str(header.get("kid", "")))
        claims: Mapping[str, Any] = jwt.decode(
            token, key.key, algorithms=_algorithms(key, settings), audience=settings.audience_of(schedule),
            issuer=settings.issuer, leeway=settings.skew, options={"require": _REQUIRED},
        )  # fmt: skip
        _refuse_odd_times(claims)
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        # What it quotes may be anything: one line of the log, and no terminal codes.
        raise Refused(f"the token is not good: {str(error)!r:.200}") from None
    return claims


def _algorithms(key: jwt.PyJWK, settings: TriggerSettings) -> list[str]:
    """What this key may sign with: a token does not choose."""
    return [key.algorithm_name] if key.algorithm_name in settings.algorithms else []


def _refuse_odd_times(claims: Mapping[str, Any]) -> None:
    for name in ("iat", "exp"):
        try:
            dt.datetime.fromtimestamp(claims[name], dt.UTC)
        except (TypeError, ValueError, OverflowError, OSError):
            raise Refused(f"the token's {name} is no time") from None


def _subject(claims: Mapping[str, Any], accepted: tuple[str, ...]) -> str:
    email = claims.get("email") if claims.get("email_verified") is True else None
    for name in (email, claims.get("sub")):
        if isinstance(name, str) and name in accepted:
            return name
    raise Refused(f"SUBJECTS does not list {email or claims.get('sub')!r:.100} for this schedule")
