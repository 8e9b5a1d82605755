"""Optional signatures of whole messages (``TASKYARD["SIGNING_KEYS"]``): who can write to the broker cannot forge one.

A signature covers the body as it stands in the message, its content type, every header and who is to be answered, the
time it was made and until when it is good, and for a job's thin message a digest of the arguments its row held when it
was published. It is HMAC-SHA256 (RFC 2104); the key's id says which of the keys to verify with. Stamps that brokers add
(``x-...``) are not covered and mean nothing to us.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskyard.celery import broker
from taskyard.celery.messages import thin_message
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.outbox.outgoing import Outgoing
from taskyard.settings import SIGNING_KEY_BYTES, SigningKey, get_settings

#: The header: key id, signed at and good until (Unix seconds; 0: for ever), digest of the row's arguments, code.
SIGNATURE = "taskyard_signature"
#: How long a job's message is good. One that waits longer was published again meanwhile (10 minutes at the latest).
LIFETIME_SECONDS = 3600
#: How far ahead the publisher's clock may be.
SKEW_SECONDS = 60

#: Body, headers, properties.
Message = tuple[str, dict[str, Any], dict[str, Any]]

_VERSION = "taskyard-1"
#: What transports and brokers add or take off on the way.
_NOT_OURS = frozenset({SIGNATURE, "compression", "timestamp_in_ms"})


def arguments_digest(args: str, kwargs: str) -> str:
    """SHA-256 of a row's arguments, exactly as stored."""
    return hashlib.sha256(json.dumps([args, kwargs]).encode()).hexdigest()


def signed_messages(batch: Sequence[Outgoing]) -> list[tuple[Outgoing, Callable[[Outgoing], Message]]]:
    """Jobs, each with what makes its signed thin message; costs one query for the digests of the arguments."""
    sql = Sql(get_settings().database)
    ids = [sql.uuid(out.id) for out in batch]
    marks = ", ".join(["%s"] * len(ids))
    rows = sql.query(f"SELECT id, args, kwargs FROM {TABLE} WHERE id IN ({marks})", ids) if ids else []
    digests = {sql.read_uuid(row[0]): arguments_digest(row[1], row[2]) for row in rows}
    return [(out, functools.partial(_signed_thin, digest=digests.get(out.id, ""))) for out in batch]


def _signed_thin(out: Outgoing, *, digest: str) -> Message:
    body, headers, properties = thin_message(out)
    sign(body, headers, properties=properties, digest=digest, lifetime_seconds=LIFETIME_SECONDS)
    return body, headers, properties


def sign(
    body: str | bytes, headers: dict[str, Any], *, properties: Mapping[str, Any], digest: str = "",
    content: Sequence[str] = ("application/json", "utf-8"), lifetime_seconds: int = 0,
) -> None:  # fmt: skip
    """Add the signature to a message's headers, if there is a key; ``lifetime_seconds=0`` is good for ever.

    The message must be published exactly as it is here.
    """
    keys = get_settings().signing_keys
    if keys:
        _add(keys[0], _Envelope(body, headers, properties, content), digest, lifetime_seconds)


def sign_foreign(
    key: str, *, body: str | bytes, headers: dict[str, Any], properties: Mapping[str, Any],
    content: Sequence[str] = ("application/json", "utf-8"), lifetime_seconds: int = 0,
) -> None:  # fmt: skip
    """The same for programs without Taskyard whose messages are adopted (``ADOPT_FOREIGN``); needs no settings."""
    secret = key.encode()
    if len(secret) < SIGNING_KEY_BYTES:
        raise ValueError(f"a signing key has {SIGNING_KEY_BYTES} bytes or more")
    _add(SigningKey(secret), _Envelope(body, headers, properties, content), "", lifetime_seconds)


class Verifier:
    """Says of each message whether it may be used, by the keys in force when the worker started."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self.keys = {key.id: key for key in keys}

    def refusal(self, message: Any, now: float) -> str:
        """Why a message must not be used; empty if it may."""
        signature = message.headers.get(SIGNATURE)
        if signature is None:
            return "it is not signed"
        try:
            key_id, signed_at, good_until, _, code = signature.split(".")
            times = int(signed_at), int(good_until)
            key = self.keys.get(key_id)
            if key is None:
                return f"it is signed with a key that is not known here: {key_id!r:.40}"
            content = (message.content_type, message.content_encoding)
            envelope = _Envelope(message.body, message.headers, message.properties, content)
            wanted = _code(key, envelope, signature.rpartition(".")[0])
            is_good = hmac.compare_digest(wanted.encode(), code.encode())
        except (AttributeError, TypeError, ValueError, RecursionError, OverflowError) as error:
            return f"its signature cannot be read ({type(error).__name__})"
        return _untimely(*times, now) if is_good else f"its signature is wrong (key {key_id})"


def verifier_for(broker_url: str | None) -> Verifier | None:
    """None where nothing is verified: without keys, and on the database broker, whose messages are the rows."""
    keys = get_settings().signing_keys
    return Verifier(keys) if keys and not broker.is_database(broker_url) else None


def digest_of(headers: Mapping[str, Any]) -> str:
    """The digest of the arguments that a verified signature names; empty where signatures are not verified."""
    if not get_settings().signing_keys:
        return ""
    parts = str(headers.get(SIGNATURE) or "").split(".")
    return parts[3] if len(parts) == 5 else ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Envelope:
    """All of a message that a signature covers."""

    body: str | bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    content: Sequence[str]

    def canonical(self, begin: str) -> bytes:
        """The same bytes on both sides of any broker."""
        headers = {k: v for k, v in self.headers.items() if k not in _NOT_OURS and not k.startswith("x-")}
        answer = [self.properties.get("correlation_id") or "", self.properties.get("reply_to") or ""]
        body = self.body.encode() if isinstance(self.body, str) else bytes(self.body)
        parts = [_VERSION, begin, *self.content, answer, hashlib.sha256(body).hexdigest(), headers]
        return json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()


def _add(key: SigningKey, envelope: _Envelope, digest: str, lifetime_seconds: int) -> None:
    now = int(time.time())
    begin = f"{key.id}.{now}.{now + lifetime_seconds if lifetime_seconds else 0}.{digest}"
    assert isinstance(envelope.headers, dict)
    envelope.headers[SIGNATURE] = f"{begin}.{_code(key, envelope, begin)}"


def _code(key: SigningKey, envelope: _Envelope, begin: str) -> str:
    return hmac.digest(key.secret, envelope.canonical(begin), "sha256").hex()


def _untimely(signed_at: int, good_until: int, now: float) -> str:
    if good_until and now > good_until:
        return f"its signature was good until {good_until}, {now - good_until:.0f} s ago"
    if now < signed_at - SKEW_SECONDS:
        return f"its signature was made {signed_at - now:.0f} s in the future: compare the hosts' clocks"
    return ""
