"""``TASKYARD["TRIGGER"]``: what is accepted, and the sentences when it is not."""

import datetime as dt
from typing import Any

import pytest

from taskyard.errors import ConfigurationError
from taskyard.settings import parse

DATABASES = {"default": {}}
JWKS = {"keys": [{"kty": "RSA", "kid": "1", "n": "AQAB", "e": "AQAB"}]}
TOKENS: dict[str, Any] = {
    "ISSUER": "https://issuer.example",
    "AUDIENCE": "https://app.example/{schedule}",
    "JWKS_URL": "https://issuer.example/keys",
    "SUBJECTS": ["clock@app.example"],
}
SECRET = "s" * 32


def read(**trigger: Any) -> Any:
    return parse({"TRIGGER": trigger}, DATABASES).trigger


def problems(trigger: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse({"TRIGGER": trigger}, DATABASES)
    return list(caught.value.problems)


def test_nobody_may_trigger_unless_somebody_is_named() -> None:
    assert parse({}, DATABASES).trigger is None
    assert parse({"TRIGGER": None}, DATABASES).trigger is None
    assert problems({}) == ["TRIGGER names nobody who may trigger: give ISSUER for tokens, or KEYS for signed headers."]


def test_tokens_and_keys_are_read() -> None:
    settings = read(**TOKENS, KEYS=[SECRET], SKEW=dt.timedelta(seconds=5))
    assert settings.audience_of("purge") == "https://app.example/purge"
    assert settings.subjects_of("purge") == ("clock@app.example",)
    assert settings.algorithms == ("RS256",)
    assert [key.secret for key in settings.keys] == [SECRET.encode()]


def test_who_may_trigger_one_schedule_may_trigger_no_other() -> None:
    settings = read(**TOKENS | {"SUBJECTS": {"purge": ["a@b"]}, "AUDIENCE": "shared"})
    assert (settings.subjects_of("purge"), settings.subjects_of("other")) == (("a@b",), ())
    assert settings.audience_of("purge") == "shared"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"AUDIENCE": "shared"}, "TRIGGER['AUDIENCE'] is the same for every schedule"),
        ({"AUDIENCE": ""}, "TRIGGER['AUDIENCE'] must be a string that is not empty"),
        ({"JWKS": JWKS}, "TRIGGER needs the issuer's keys from one place: JWKS_URL or JWKS."),
        ({"SUBJECTS": []}, "TRIGGER['SUBJECTS'] must be a list of e-mail addresses"),
        ({"SUBJECTS": "clock@app.example"}, "TRIGGER['SUBJECTS'] must be a list of e-mail addresses"),
        ({"SUBJECTS": {"purge": "clock@app.example"}}, "TRIGGER['SUBJECTS'] must be a list of e-mail addresses"),
        ({"SUBJECTS": {}}, "TRIGGER['SUBJECTS'] must be a list of e-mail addresses"),
        ({"JWKS_URL": "http://issuer.example/keys"}, "TRIGGER['JWKS_URL'] must be an https URL"),
        ({"JWKS_URL": "file:///etc/passwd"}, "TRIGGER['JWKS_URL'] must be a URL"),
        ({"JWKS_URL": "https://["}, "TRIGGER['JWKS_URL'] must be a URL"),
        ({"ALGORITHMS": ["none"]}, "TRIGGER['ALGORITHMS'] must be a list of some of RS256"),
        ({"ALGORITHMS": ["HS256"]}, "TRIGGER['ALGORITHMS'] must be a list of some of RS256"),
        ({"ALGORITHMS": []}, "TRIGGER['ALGORITHMS'] must be a list of some of RS256"),
        ({"SKEW": dt.timedelta(hours=1)}, "TRIGGER['SKEW'] must be a timedelta from 0 to 60 seconds"),
        ({"LATENESS": 60}, "TRIGGER['LATENESS'] must be a timedelta from 0 to 86,400 seconds; it is 60."),
        ({"REUSED_TOKENS": 1}, "TRIGGER['REUSED_TOKENS'] must be True or False"),
        ({"ISUER": "x"}, "TRIGGER['ISUER'] is not a setting; there are ISSUER, AUDIENCE"),
        ({"KEYS": ["short"]}, "TRIGGER['KEYS'] must be keys of 32 bytes or more"),
    ],
)
def test_what_cannot_work_is_told_with_the_key_and_what_it_takes(changes: dict[str, Any], problem: str) -> None:
    [said] = problems(TOKENS | changes)
    assert said.startswith(problem)


def test_secrets_are_not_shown_and_no_key_is_one_that_could_sign() -> None:
    [said] = problems(TOKENS | {"KEYS": ["too-short-a-secret"]})
    assert "too-short" not in said
    private = {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}
    inline = {key: value for key, value in TOKENS.items() if key != "JWKS_URL"}
    [said] = problems(inline | {"JWKS": private})
    assert said.startswith("TRIGGER['JWKS'] must be a set of public keys")
    assert "c2VjcmV0" not in said
    assert problems("secret") == ["TRIGGER must be a dict, or None; it is something else (not shown)."]


def test_parts_of_an_issuer_without_one_are_told() -> None:
    assert problems({"SUBJECTS": ["a"], "KEYS": [SECRET]}) == [
        "TRIGGER has SUBJECTS and no ISSUER: nobody's tokens are meant."
    ]
