"""Who may trigger a schedule: tokens, the keys they are verified with, and signed headers. No rows."""

import base64
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from taskyard.integrations.trigger import key_set, signed_header, token
from taskyard.integrations.trigger.caller import Call, Refused, refuse_untimely
from taskyard.integrations.trigger.key_set import REFETCH_SECONDS, STALE_SECONDS, KeySet
from taskyard.settings import parse
from tests.issuer import Issuer, key_pair

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
SECRET, OTHER_SECRET = "s" * 32, "o" * 32

issuer = Issuer()


def trusting(**more: Any) -> Any:
    said = issuer.settings(JWKS_URL=None, JWKS=issuer.jwks(), KEYS=[SECRET]) | more
    return parse({"TRIGGER": said}, {"default": {}}).trigger


def call(text: str = "", *, schedule: str = "purge", due_at: dt.datetime = NOW, signature: str = "") -> Call:
    return Call(schedule, due_at.isoformat(), due_at, f"Bearer {text}", signature)


def verified(text: str, *, settings: Any = None, **said: Any) -> Any:
    return token.verify(call(text, **said), settings or trusting(), find=KeySet(issuer.jwks).find)


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_made_for_the_schedule_is_accepted() -> None:
    caller = verified(issuer.token("purge", NOW))
    assert caller.name == issuer.subject
    assert caller.proof


def test_what_is_recognised_by_its_subject_needs_no_address() -> None:
    text = issuer.token("purge", NOW, email=None, email_verified=None, sub="clock")
    assert verified(text, settings=trusting(SUBJECTS={"purge": ["clock"]})).name == "clock"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://issuer.example.evil"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"aud": "https://app.example/schedules/other"}, "udience"),
        ({"aud": None}, "aud"),
        ({"exp": int((NOW - 2 * MINUTE).timestamp())}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"iat": None}, "iat"),
        ({"iat": int((NOW + 5 * MINUTE).timestamp())}, "iat"),
        ({"iat": float("inf")}, "not good"),
        ({"nbf": int((NOW + 5 * MINUTE).timestamp())}, "not yet valid"),
        ({"email": "somebody@else.example"}, "SUBJECTS"),
        ({"email_verified": False}, "SUBJECTS"),
        ({"email_verified": None}, "SUBJECTS"),
        ({"email": None}, "SUBJECTS"),
        ({"email": ["clock@app.example"]}, "SUBJECTS"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        verified(issuer.token("purge", NOW, **claims))


def test_clocks_may_differ_by_a_minute() -> None:
    assert verified(issuer.token("purge", NOW, iat=int(NOW.timestamp()) + 30, exp=int(NOW.timestamp()) - 30))


def test_a_token_for_one_schedule_is_refused_for_another() -> None:
    with pytest.raises(Refused, match="udience"):
        verified(issuer.token("purge", NOW), schedule="other")
    shared = trusting(AUDIENCE="shared", SUBJECTS={"purge": [issuer.subject], "other": ["other@app.example"]})
    assert verified(issuer.token("purge", NOW, aud="shared"), settings=shared)
    with pytest.raises(Refused, match="SUBJECTS"):
        verified(issuer.token("purge", NOW, aud="shared"), settings=shared, schedule="other")


def test_a_token_made_before_the_due_time_was_made_for_another_one() -> None:
    text = issuer.token("purge", NOW - 10 * MINUTE)
    with pytest.raises(Refused, match="older than the due time"):
        verified(text)
    reused = verified(text, settings=trusting(REUSED_TOKENS=True))
    assert (reused.name, reused.proof) == (issuer.subject, "")


def unsigned(text: str, header: dict[str, Any], signature: str = "") -> str:
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return ".".join([encoded, text.split(".")[1], signature])


def test_only_the_issuers_signature_counts() -> None:
    good = issuer.token("purge", NOW)
    public = key_pair("first").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    forged = [
        issuer.token("purge", NOW, key=key_pair("forger")),
        issuer.token("purge", NOW, kid="forger"),
        unsigned(good, {"alg": "none", "kid": "first"}),
        unsigned(good, {"alg": "None", "kid": "first"}),
        unsigned(good, {"alg": "HS256", "kid": "first"}, jwt.api_jws.base64url_encode(pem).decode()),
        good[:-4] + "AAAA",
        good.replace(".", "..", 1),
        issuer.token("other", NOW).rsplit(".", 1)[0] + "." + good.rsplit(".", 1)[1],
        "",
        "a.b.c",
        "." * 9_000,
        unsigned(good, {"alg": "RS256", "kid": "first", "jku": "https://forger.example", "jwk": issuer.jwks()}, "AA"),
        base64.urlsafe_b64encode(b"[" * 5_000).decode() + ".e30.AA",
        base64.urlsafe_b64encode(b'{"alg":["RS256"],"kid":1}').decode() + ".e30.AA",
    ]
    for text in forged:
        with pytest.raises(Refused):
            verified(text)
    assert verified(good)


def test_a_key_signs_only_as_its_kind_does_whatever_the_token_says() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    listed = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key())) | {"kid": "curve"}
    text = jwt.encode(
        jwt.decode(issuer.token("purge", NOW), options={"verify_signature": False}),
        private, algorithm="ES256", headers={"kid": "curve"},
    )  # fmt: skip
    keys = KeySet(lambda: {"keys": [listed]})
    with pytest.raises(Refused, match="ALGORITHMS"):
        token.verify(call(text), trusting(), find=keys.find)
    assert token.verify(call(text), trusting(ALGORITHMS=["RS256", "ES256"]), find=keys.find)
    with pytest.raises(Refused):
        token.verify(call(issuer.token("purge", NOW, kid="curve", key=key_pair("first"))), trusting(), find=keys.find)


def test_what_a_token_says_stays_on_one_line_of_the_log() -> None:
    text = unsigned(issuer.token("purge", NOW), {"alg": "RS256", "kid": "first\n\x1b[2J", "crit": ["x\n\x1b[2J"]}, "AA")
    with pytest.raises(Refused) as caught:
        verified(text)
    assert caught.value.reason.isprintable()


@pytest.mark.parametrize("authorization", ["", "Bearer", "Basic dTpw", "Bearer  ", "bearer"])
def test_without_a_bearer_token_there_is_none(authorization: str) -> None:
    with pytest.raises(Refused):
        token.verify(Call("purge", "", NOW, authorization, ""), trusting(), find=KeySet(issuer.jwks).find)


# -- the issuer's keys -------------------------------------------------------------------------------------------------


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served() -> Iterator[Issuer]:
    with Issuer().serving() as made:
        yield made


def keys_of(served: Issuer, clock: Clock) -> KeySet:
    return KeySet(lambda: key_set.fetch(served.url), clock)


def test_keys_are_fetched_once_and_again_when_they_are_an_hour_old(served: Issuer, clock: Clock) -> None:
    keys = keys_of(served, clock)
    for _ in range(3):
        assert keys.find("first").key_id == "first"
    assert served.requests == 1
    clock.now += key_set.LIFETIME_SECONDS
    assert keys.find("first")
    assert served.requests == 2


def test_a_new_key_is_found_but_unknown_ones_cause_at_most_one_request_a_minute(served: Issuer, clock: Clock) -> None:
    keys = keys_of(served, clock)
    assert keys.find("first")
    served.kids = ["first", "second"]
    for number in range(20):
        with pytest.raises(Refused, match="does not publish"):
            keys.find(f"made up {number}")
    assert served.requests == 1
    clock.now += REFETCH_SECONDS
    assert keys.find("second")
    with pytest.raises(Refused):
        keys.find("made up")
    assert served.requests == 2


def test_while_the_issuer_is_away_its_keys_serve_for_a_day(served: Issuer, clock: Clock) -> None:
    keys = keys_of(served, clock)
    assert keys.find("first")
    served.answer = (503, {}, b"")
    clock.now += STALE_SECONDS - 1
    assert keys.find("first")
    clock.now += REFETCH_SECONDS
    for _ in range(5):
        with pytest.raises(Refused, match="cannot be fetched"):
            keys.find("first")
    assert served.requests == 3
    served.answer = None
    clock.now += REFETCH_SECONDS
    assert keys.find("first")


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"not json"),
        (200, {}, b"[]"),
        (200, {}, b'{"keys": 3}'),
        (200, {}, b'{"keys": [' + b" " * 300_000 + b"]}"),
        (200, {}, b'{"keys": ["text", {"kty": "oct", "k": "c2VjcmV0", "kid": "first"}, {"kty": "moon"}]}'),
        (500, {}, b""),
        (302, {"Location": "http://127.0.0.1:9/keys"}, b""),
    ],
)
def test_an_answer_that_is_no_key_set_gives_no_key(answer: Any, served: Issuer, clock: Clock) -> None:
    served.answer = answer
    with pytest.raises(Refused):
        keys_of(served, clock).find("first")
    assert served.requests == 1


def test_a_redirect_is_not_followed(served: Issuer, clock: Clock) -> None:
    with Issuer().serving() as other:
        served.answer = (302, {"Location": other.url}, b"")
        with pytest.raises(Refused):
            keys_of(served, clock).find("first")
        assert (served.requests, other.requests) == (1, 0)


# -- signed headers ----------------------------------------------------------------------------------------------------


def signed(
    now: dt.datetime = NOW, *, key: str = SECRET, schedule: str = "purge", due_at: dt.datetime = NOW
) -> str:  # fmt: skip
    return signed_header.signature(key, schedule=schedule, due=due_at.isoformat(), now=now)


def test_a_signed_header_is_accepted_with_any_key_that_is_listed() -> None:
    settings = trusting(KEYS=[OTHER_SECRET, SECRET])
    for key in (SECRET, OTHER_SECRET):
        caller = signed_header.verify(call(signature=signed(key=key)), settings, NOW)
        assert caller.name.startswith("key ")
        assert key not in caller.name


@pytest.mark.parametrize(
    "signature",
    [
        signed(key=OTHER_SECRET),
        signed(schedule="other"),
        signed(due_at=NOW - MINUTE),
        signed(NOW - 2 * HOUR),
        signed(NOW + 2 * MINUTE),
        signed()[:-1],
        "0." + signed().partition(".")[2],
        signed().partition(".")[0],
        ".",
        "é.é",
        "\udcff",
    ],
)
def test_any_other_signature_is_refused(signature: str) -> None:
    with pytest.raises(Refused):
        signed_header.verify(call(signature=signature), trusting(), NOW)


def test_a_short_key_does_not_sign() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        signed(key="short")


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lateness", "is_refused"), [(-2 * MINUTE, True), (-MINUTE, False), (HOUR, False), (2 * HOUR, True)]
)
def test_a_due_time_is_delivered_from_then_on_for_an_hour(lateness: dt.timedelta, is_refused: bool) -> None:
    settings = trusting()
    try:
        refuse_untimely(call(due_at=NOW), NOW + lateness, skew=settings.skew, lateness=settings.lateness)
    except Refused:
        assert is_refused
    else:
        assert not is_refused
