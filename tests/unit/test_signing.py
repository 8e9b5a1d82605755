"""What a signature covers, and what becomes of keys that are shown."""

import copy
import json
import pickle
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings

from taskyard.celery import signing
from taskyard.celery.signing import SIGNATURE, Verifier, arguments_digest, sign, sign_foreign
from taskyard.errors import ConfigurationError
from taskyard.settings import Settings, SigningKey, get_settings, parse

KEY, OTHER = "the key that signs".ljust(32, "x"), "another key".ljust(32, "y")
DATABASES = {"default": {}}


def message(**changes: Any) -> Any:
    """A signed message as it arrives."""
    headers = {"task": "app.note", "id": "1", "taskyard_tenant": "us", "timelimit": [None, 30.0], "retries": 0}
    properties = {"correlation_id": "1", "reply_to": ""}
    with override_settings(TASKYARD={"SIGNING_KEYS": [changes.pop("key", KEY)]}):
        sign("[[], {}, {}]", headers, properties=properties, digest="d", lifetime_seconds=3600)
    arrived = {
        "headers": headers, "properties": properties,
        "content_type": "application/json", "content_encoding": "utf-8",
    }  # fmt: skip
    return SimpleNamespace(
        **json.loads(json.dumps({k: v for k, v in arrived.items() if k != "body"})), body=b"[[], {}, {}]"
    )


def refusal(one: Any, *keys: str, later: float = 0.0) -> str:
    return Verifier([SigningKey(key.encode()) for key in keys or (KEY,)]).refusal(one, time.time() + later)


def test_a_signed_message_is_good_as_text_and_as_bytes_and_with_the_stamps_of_brokers() -> None:
    one = message()
    assert refusal(one) == ""
    one.body = one.body.decode()
    one.headers |= {"x-death": [{"count": 1}], "compression": "gzip", "timestamp_in_ms": 1}
    assert refusal(one) == ""


CHANGES: dict[str, Callable[[Any], object]] = {
    "the body": lambda one: setattr(one, "body", b"[[1], {}, {}]"),
    "the task": lambda one: one.headers.update(task="app.evil"),
    "the id": lambda one: one.headers.update(id="2"),
    "the tenant": lambda one: one.headers.update(taskyard_tenant="them"),
    "a limit": lambda one: one.headers.update(timelimit=[None, 31.0]),
    "a limit's place": lambda one: one.headers.update(timelimit=[30.0, None]),
    "a header too many": lambda one: one.headers.update(shadow="x"),
    "a header missing": lambda one: one.headers.pop("retries"),
    "who is answered": lambda one: one.properties.update(reply_to="me"),
    "the content type": lambda one: setattr(one, "content_type", "application/x-yaml"),
    "the encoding": lambda one: setattr(one, "content_encoding", "utf-16"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_of_a_message_can_be_changed(change: Callable[[Any], object]) -> None:
    one = message()
    change(one)
    assert refusal(one).startswith("its signature is wrong")


@pytest.mark.parametrize("part", range(5), ids=["key id", "signed at", "good until", "digest", "code"])
def test_nothing_of_a_signature_can_be_changed(part: int) -> None:
    one = message()
    parts = one.headers[SIGNATURE].split(".")
    parts[part] = f"{int(parts[part]) + 1}" if part in (1, 2) else parts[part][::-1] + "0"
    one.headers[SIGNATURE] = ".".join(parts)
    assert refusal(one)


@pytest.mark.parametrize(
    "signature", [None, 7, [], {}, "", "....", "a.b.c.d.e", "é.1.1..x", "." * 100, "1.1.1.1", "\ud800.1.1.1.1"]
)
def test_a_signature_of_the_wrong_shape_is_refused(signature: Any) -> None:
    one = message()
    one.headers[SIGNATURE] = signature
    assert refusal(one)
    del one.headers[SIGNATURE]
    assert refusal(one) == "it is not signed"


def test_keys_rotate_in_two_steps_and_an_unknown_key_is_named() -> None:
    old = message(key=OTHER)
    assert refusal(old, KEY, OTHER) == ""
    said = refusal(old, KEY)
    assert said == f"it is signed with a key that is not known here: {SigningKey(OTHER.encode()).id!r}"
    assert OTHER not in said


def test_a_signature_is_good_for_a_while_and_a_little_before_it_was_made() -> None:
    one = message()
    assert refusal(one, later=3590) == ""
    assert "was good until" in refusal(one, later=3610)
    assert refusal(one, later=-50) == ""
    assert "in the future" in refusal(one, later=-70)


def test_programs_without_taskyard_sign_the_same_way() -> None:
    one = message()
    headers = copy.deepcopy(one.headers)
    sign_foreign(KEY, body="[[], {}, {}]", headers=headers, properties=one.properties)
    assert headers != one.headers
    one.headers = headers
    assert refusal(one, later=10**9) == ""
    with pytest.raises(ValueError, match="32 bytes"):
        sign_foreign("short", body="", headers={}, properties={})


def test_without_keys_nothing_is_signed_and_nothing_verified() -> None:
    headers: dict[str, Any] = {}
    sign("", headers, properties={})
    assert headers == {}
    assert signing.verifier_for("redis://") is None
    with override_settings(TASKYARD={"SIGNING_KEYS": [KEY]}):
        assert signing.verifier_for("redis://") is not None
        # The rows are the messages.
        assert signing.verifier_for("taskyard://") is None
        assert signing.verifier_for("") is None


def test_digests_tell_positional_from_keyword_arguments() -> None:
    assert len({arguments_digest(*one) for one in (("[]", "{}"), ("{}", "[]"), ("[]{}", ""), ("", "[]{}"))}) == 4


def test_keys_are_never_shown() -> None:
    settings = parse({"SIGNING_KEYS": lambda: [KEY, OTHER.encode()]}, DATABASES)
    shown = f"{settings!r} {settings.signing_keys!r} {settings.signing_keys[0]!s}"
    assert KEY not in shown and OTHER not in shown and "xxxx" not in shown
    assert settings.signing_keys[0].id in shown
    with pytest.raises(TypeError):
        pickle.dumps(settings.signing_keys[0])
    with override_settings(TASKYARD=[KEY]), pytest.raises(ConfigurationError) as caught:
        get_settings()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("value", ["k" * 40, ["k" * 31], [7], 7, lambda: "k" * 40, {"k" * 40: 1}])
def test_keys_that_cannot_work_are_told_without_showing_them(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse({"SIGNING_KEYS": value}, DATABASES)
    assert "SIGNING_KEYS must be" in str(caught.value)
    assert "kkkk" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], (), lambda: None])
def test_no_keys_are_no_signing(value: Any) -> None:
    assert parse({"SIGNING_KEYS": value}, DATABASES) == Settings()
