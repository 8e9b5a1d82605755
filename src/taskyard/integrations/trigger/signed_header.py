"""Headers signed with a shared secret: for whatever can compute an HMAC and has no identity of its own."""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Sequence

from taskyard.integrations.trigger.caller import Call, Caller, Refused
from taskyard.settings import SIGNING_KEY_BYTES
from taskyard.trigger_settings import Key, TriggerSettings

#: The header: Unix seconds of signing, a dot, the code in hex.
SIGNATURE = "Taskyard-Signature"

_VERSION = "taskyard-trigger-1"


def signature(key: str, *, schedule: str, due: str, now: dt.datetime) -> str:
    """The value of the header ``Taskyard-Signature``; ``due`` exactly as it stands in the request."""
    secret = key.encode()
    if len(secret) < SIGNING_KEY_BYTES:
        raise ValueError(f"a key has {SIGNING_KEY_BYTES} bytes or more")
    signed_at = str(int(now.timestamp()))
    return f"{signed_at}.{_code(secret, [schedule, due, signed_at])}"


def verify(call: Call, settings: TriggerSettings, now: dt.datetime) -> Caller:
    """Who signed; raises :class:`Refused`.

    Schedule and due time are signed, so nothing else can be triggered with it; when it was signed bounds how long it
    can be repeated, and repeating it changes nothing.
    """
    signed_at, _, code = call.signature.partition(".")
    key = _signer(settings.keys, [call.schedule, call.due, signed_at], code)
    try:
        age = now - dt.datetime.fromtimestamp(int(signed_at), dt.UTC)
    except (ValueError, OverflowError, OSError):
        raise Refused("the signature is good, but says no time") from None
    if not -settings.skew <= age <= settings.lateness + settings.skew:
        raise Refused(f"the signature was made {int(age.total_seconds())} s ago")
    return Caller(f"key {key.id}")


def _signer(keys: Sequence[Key], parts: Sequence[str], code: str) -> Key:
    given = code.encode(errors="replace")
    for key in keys:
        if hmac.compare_digest(_code(key.secret, parts).encode(), given):
            return key
    raise Refused("the signature is wrong, or made with a key that is not known here")


def _code(secret: bytes, parts: Sequence[str]) -> str:
    # None of the parts has a line break: printable names, and a time that was parsed.
    return hmac.digest(secret, "\n".join([_VERSION, *parts]).encode(errors="replace"), "sha256").hex()
