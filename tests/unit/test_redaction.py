"""Secrets are taken out of texts and values; what tells a reader something stays."""

import json
import sys
from typing import Any

import pytest

from taskyard.errors import StillHidden
from taskyard.jobs.redaction import REDACTED, is_sensitive, redact, redact_text, restored, secrets_in

TOLD = {
    "a pair": ("login failed: password=hunter2 for bob", "hunter2", "for bob"),
    "a pair in quotes": ("api_key = 'two words' is refused", "two words", "is refused"),
    "with a quote in it": ('{"token": "x\\"hunter2", "n": 3}', "hunter2", '"n": 3'),
    "JSON in JSON": (json.dumps({"body": json.dumps({"client_secret": "hunter2", "n": 3})}), "hunter2", "body"),
    "a pair within another": ('message="no login with password=hunter2 today"', "hunter2", "today"),
    "a header": ("GET / HTTP/1.1\nAuthorization: Digest username=bob, response=hunter2\nHost: here", "hunter2", "Host"),
    "a header in a dict": ("{'Authorization': 'Basic aHVudGVy', 'Accept': 'text/html'}", "aHVudGVy", "text/html"),
    "headers as pairs": ("[('X-Api-Key', 'hunter2'), ('Accept', 'text/html')]", "hunter2", "text/html"),
    "a bearer": ("refused: Bearer hunter2hunter2", "hunter2", "refused"),
    "cookies": ("Cookie: a=1; sessionid=hunter2\nHost: here", "hunter2", "Host"),
    "an address": ("cannot reach amqp://bob:hunter2@broker:5672/vhost", "hunter2", "broker:5672/vhost"),
    "an address without a user": ("redis://:hunter2@cache/0", "hunter2", "cache/0"),
    "a password with an @": ("postgres://bob:hun@ter2@db/x", "ter2", "db/x"),
    "a token in an address": ("https://0123456789abcdef0123@sentry.example/1", "0123456789", "sentry.example"),
    "a query": ("GET https://host/path?page=2&access_token=hunter2&size=3", "hunter2", "size=3"),
    "libpq": ("connection failed: host=db user=bob password=hunter2 dbname=x", "hunter2", "dbname=x"),
    "an environment": ("PGPASSWORD=hunter2 psql -h db", "hunter2", "psql -h db"),
    "a command": ("['dump', '--password', 'hunter2', '--jobs', '3']", "hunter2", "'--jobs', '3'"),
    "code": ("    os.environ['SECRET_KEY'] = 'hunter2'\n    go()", "hunter2", "go()"),
    "a sentence": ("the password is 'hunter2', it says", "hunter2", "it says"),
    "a JWT": ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl here", "eyJzdWIi", "here"),
    "an AWS key": ("AKIAIOSFODNN7EXAMPLE is unknown", "AKIAIOSFODNN7EXAMPLE", "is unknown"),
    "a GitHub token": ("remote: ghp_abcdefghijklmnopqrstuvwxyz0123 expired", "abcdefghij", "expired"),
    "a private key": ("-----BEGIN PRIVATE KEY-----\nMIIhunter2\n-----END PRIVATE KEY-----\nend", "hunter2", "end"),
    "a private key cut off": ("key: -----BEGIN PRIVATE KEY-----\nMIIhunter2\nMII", "hunter2", "key"),
    "a list": ("tokens=['hunter2', 'hunter3'] were tried", "hunter", "were tried"),
}  # fmt: skip


@pytest.mark.parametrize("form", TOLD)
def test_a_text_loses_its_secret_and_keeps_the_rest(form: str) -> None:
    text, secret, rest = TOLD[form]
    cleaned = redact_text(text, names=())

    assert secret not in cleaned
    assert rest in cleaned
    assert REDACTED in cleaned
    assert redact_text(cleaned, names=()) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "basic training needs 3 tokens",
        "max_tokens=500, token_count: 4, password_length=12",
        "password=None, secret=''",
        'duplicate key value violates unique constraint "shop_key"\nDETAIL:  Key (id)=(5) already exists.',
        "https://host:8000/path?page=2",
        "mail to bob@example.com failed at 12:30:15",
        "KeyError: 'monkey'",
    ],
)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert redact_text(text, names=()) == text


def test_the_secrets_of_a_job_are_found_wherever_and_however_they_are_written() -> None:
    secrets = secrets_in({"login": {"password": "it's ümlaut/1"}, "pin": 4711, "name": "bob"})

    assert secrets == ("it's ümlaut/1", "4711")
    for text in (
        "no such user: it's ümlaut/1",
        repr({"x": "it's ümlaut/1"}),
        json.dumps({"x": "it's ümlaut/1"}),
        "GET /?q=it%27s%20%C3%BCmlaut%2F1",
        "GET /?q=it%27s+%C3%BCmlaut%2F1",
    ):
        cleaned = redact_text(text, secrets, names=())
        assert "mlaut" not in cleaned
        assert "bcml" not in cleaned
    assert redact_text("4711 is refused, 47110 is not", secrets, names=()) == f"{REDACTED} is refused, 47110 is not"


def test_a_secret_within_an_argument_is_one_of_the_job() -> None:
    secrets = secrets_in({"url": "postgres://bob:hunter2@db/x", "tried": ["a", "no"]})

    assert secrets == ("hunter2",)


def test_values_lose_what_has_a_sensitive_name_at_any_depth() -> None:
    value = {"user": "bob", "auth": {"n": 1}, "rows": [{"apiKey": "x", "size": 3}], "password": None, "has_token": True}

    assert redact(value, ()) == {
        "user": "bob", "auth": REDACTED, "rows": [{"apiKey": REDACTED, "size": 3}], "password": None,
        "has_token": True,
    }  # fmt: skip
    deep: object = "hunter2"
    for _ in range(1000):
        deep = [deep]
    assert "hunter2" not in str(redact(deep, ()))


def test_names_of_ones_own_are_sensitive_whatever_their_case() -> None:
    assert not is_sensitive("Answer")
    assert is_sensitive("Answer", {"answer"})
    assert redact({"Answer": 42}, {"answer"}) == {"Answer": REDACTED}


@pytest.mark.parametrize(
    "name", ["api-key", "apiKey", "APIKEY", "X-Auth-Token", "DB_PASSWORD", "passwords", "aws_secret_access_key"]
)
def test_sensitive_names_in_every_spelling(name: str) -> None:
    assert is_sensitive(name)


@pytest.mark.parametrize(
    "name", ["author", "tokenizer", "monkey", "max_tokens", "password_length", "spinner", "", "passenger"]
)
def test_harmless_names(name: str) -> None:
    assert not is_sensitive(name)


def test_an_edit_of_what_was_shown_keeps_what_was_not() -> None:
    stored = {"user": "bob", "login": {"password": "hunter2", "realm": "a"}, "urls": ["ftp://u:pw@h", "b"]}
    shown = redact(stored, ())

    assert restored(shown, stored) == stored
    shown["login"]["realm"] = "b"
    assert restored(shown, stored)["login"] == {"password": "hunter2", "realm": "b"}
    shown["login"]["password"] = "new"
    assert restored(shown, stored)["login"]["password"] == "new"


@pytest.mark.parametrize(
    ("stored", "edited"),
    [
        ({"a": {"token": "t-1234"}}, {"b": {"token": REDACTED}}),
        ({"token": "t-1234"}, {"api_token": REDACTED}),
        ({"url": "ftp://u:pw@one"}, {"url": f"ftp://u:{REDACTED}@two"}),
        ([{"token": "t-1234"}, 5], [{"token": REDACTED}]),
        ([{"token": "t-1234"}, 5], [5, {"token": REDACTED}]),
        (["plain", 5], [REDACTED, 5]),
        ({"n": 5}, {"n": {REDACTED: 5}}),
        ({"n": 5}, REDACTED),
    ],
)
def test_a_placeholder_where_nothing_was_hidden_is_refused(stored: Any, edited: Any) -> None:
    with pytest.raises(StillHidden, match=r"only where it was shown"):
        restored(edited, stored)


def test_what_is_stored_comes_back_under_a_name_that_is_a_secret_itself() -> None:
    stored = {"Bearer abc123def456": 3, "plain": [True, None, 1.5]}
    shown = redact(stored, ())
    assert "abc123def456" not in repr(shown)
    assert restored(shown, stored) == stored
    # As it was typed, whatever it is equal to.
    assert restored({"plain": [1, None, 1.5]}, stored)["plain"][0] is not True


HOSTILE = ("password=(", 'password="a ', "a.", "http://a:b", "-----BEGIN PRIVATE KEY-----", "bearer ", "\\", "'")


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_text_is_read_to_its_end(piece: str) -> None:
    # With one form that tries again from each place, a minute or an hour: the tier would not end in time.
    text = "password='" + piece * (30_000 // len(piece)) + "' password=hunter2"

    assert "hunter2" not in redact_text(text, names=())


def test_recursion_is_not_used_up_by_a_deep_value() -> None:
    deep: object = 1
    for _ in range(sys.getrecursionlimit() * 2):
        deep = {"a": deep}
    assert secrets_in(deep) == ()
