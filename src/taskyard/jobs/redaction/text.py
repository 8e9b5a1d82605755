"""Secrets in texts: what was looked for, and what has a telling form."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from urllib.parse import quote, quote_plus

from taskyard.jobs.redaction.names import is_sensitive, more_names

#: What stands in the place of a secret.
REDACTED = "[redacted]"
#: Shorter values are not looked for in texts: "no" would be taken out of every sentence.
SHORTEST_SECRET = 4

_FLAGS = re.IGNORECASE
#: Forms that tell a secret by themselves. Hostile texts take time in proportion to their length.
_FORMS = (
    # Private keys, also cut off ones, and with newlines that are written as two characters.
    re.compile(
        r"(?P<secret>-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----(?:(?!-----).)*+(?:-----END[A-Z0-9 ]*-----)?)",
        re.DOTALL,
    ),
    re.compile(r"(?P<secret>AGE-SECRET-KEY-1[0-9A-Z]+)"),
    # Headers, whose values have spaces in them.
    re.compile(
        r"""\b(?:(?:proxy-)?authorization|(?:set-)?cookie)\\*["']?\s{0,5}[:=,]\s{0,5}"""
        r"""(?P<secret>\[redacted\]|b?\\*"[^"\r\n]*"?|b?\\*'[^'\r\n]*'?|[^\s"'][^\r\n]*)""",
        _FLAGS,
    ),
    re.compile(r"\b(?:bearer|token)\s{1,5}(?P<secret>(?=[^\s\d]*\d)[\w.~+/=-]{8,})", _FLAGS),
    re.compile(r"\b[Bb]asic\s{1,5}(?P<secret>(?=[A-Za-z+/]*(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9+/]{8,}={0,2})"),
    # Addresses: the password, or all that stands before the @ where that is long enough to be a token.
    re.compile(r"""[a-z]://[^\s/:@"'<>]{0,200}:(?P<secret>[^\s"'<>]{0,1000})@""", _FLAGS),
    re.compile(r"""[a-z]://(?P<secret>[^\s/:@"'<>]{16,1000})@""", _FLAGS),
    # Tokens that say whose they are.
    re.compile(r"\b(?P<secret>eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?)"),
    re.compile(r"\b(?P<secret>(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})\b"),
    re.compile(
        r"\b(?P<secret>(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|[srp]k_(?:live|test)_|whsec_|sk-|AIza|ya29\.|"
        r"SG\.|npm_|pypi-|hf_|dop_v1_|shp(?:at|ss)_|sq0[a-z]{3}-)[\w.-]{12,})"
    ),
)  # fmt: skip

_NAME = r"(?P<name>[A-Za-z_][\w.-]{0,80})"
#: What stands before a value: it is a secret if its name is telling.
_NAMED = (
    # name=, "name": , ('name', 'value'), environ['NAME'] =
    re.compile(
        rf"""(?<![A-Za-z0-9_]){_NAME}"""
        r"""(?:\\*["']?\]?\s{0,5}(?:=>|:=|==?|:)\s{0,5}|\\*["']\s{0,5},\s{0,5}(?=[bru]?\\*["']))"""
    ),
    # --name value, and the same as a list of words.
    re.compile(rf"""(?<![\w-])--{_NAME}["']?,?\s{{1,5}}"""),
    # password 'value', the password is "value"
    re.compile(rf"""(?<![A-Za-z0-9_]){_NAME}\s(?:is\s|was\s)?(?=["'])"""),
)
#: The value itself: quoted within a text that is quoted, quoted, cut off, in brackets, or up to a space.
_VALUE = re.compile(
    r"""\\+(["'])[^"']*+["']|[bru]?"(?:[^"\\]|\\.)*+"|[bru]?'(?:[^'\\]|\\.)*+'|[bru]?["'][^\r\n]*"""
    r"""|[\[({][^\])}]{0,4000}+[\])}]|[^\s&;"'<>]*[^\s&;"'<>)\]},.:]""",
    re.DOTALL | _FLAGS,
)
_QUOTES = ("'", '"')
#: Values that are no secret whatever they are called.
_PLAIN = frozenset({"", "None", "null", "True", "False", "true", "false", REDACTED})


def redact_text(text: str, secrets: Collection[str] = (), *, names: Collection[str] | None = None) -> str:
    """A text as it may be stored and shown: without ``secrets`` (see :func:`secrets_in`) and telling forms.

    Doing it twice changes nothing more.
    """
    names = more_names() if names is None else names
    for secret in sorted(secrets, key=len, reverse=True):
        for spelling in _spellings(secret):
            text = _without(text, spelling)
    for form in (*_FORMS, *_NAMED):
        text = _hidden(text, list(_places(form, text, names)))
    return text


def _spellings(secret: str) -> set[str]:
    # As it stands, in a repr, in JSON, in an address.
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret)}


def _without(text: str, secret: str) -> str:
    if secret not in text:
        return text
    if len(secret) >= 2 * SHORTEST_SECRET:
        return text.replace(secret, REDACTED)
    # A short one is a part of many words and numbers.
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", REDACTED, text)


def _hidden(text: str, places: Sequence[tuple[int, int]]) -> str:
    parts, done = [], 0
    for start, end in places:
        parts += [text[done:start], REDACTED]
        done = end
    return "".join((*parts, text[done:])) if parts else text


def _places(form: re.Pattern[str], text: str, names: Collection[str]) -> Iterator[tuple[int, int]]:
    """Where secrets of that form stand, in order."""
    end = 0
    for match in form.finditer(text):
        if match.start() < end:
            continue
        value: re.Match[str] | None = match
        if form in _NAMED:
            # Only then: within the value of another name there may be a telling one.
            value = _VALUE.match(text, match.end()) if is_sensitive(match["name"], names) else None
        if value is not None:
            start, end = value.span("secret" if value is match else 0)
            if _bare(text[start:end]) not in _PLAIN:
                yield start, end


def _bare(value: str) -> str:
    """A value without its quotes."""
    inner = value[1:] if value[:1] in "bruBRU" and value[1:2] in _QUOTES else value
    inner = inner.lstrip("\\")
    if inner[:1] in _QUOTES and inner[-1:] == inner[:1] and len(inner) > 1:
        return inner[1:-1].rstrip("\\")
    return value


def secrets_in_text(text: str, names: Collection[str]) -> Iterator[str]:
    """What :func:`redact_text` would take out for its form, without quotes."""
    for form in (*_FORMS, *_NAMED):
        yield from (_bare(text[start:end]) for start, end in _places(form, text, names))
