"""Secrets in JSON values: taken out to be shown, listed to be looked for, put back after an edit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from taskyard.errors import StillHidden
from taskyard.jobs.redaction.names import is_sensitive, more_names
from taskyard.jobs.redaction.text import REDACTED, SHORTEST_SECRET, redact_text, secrets_in_text

#: Values of one job that are looked for in its texts, and the deepest of a value that is shown.
_MOST_SECRETS, _DEEPEST = 200, 50


def redact(value: Any, names: Collection[str] | None = None, *, secrets: Collection[str] = ()) -> Any:
    """A JSON value as it may be shown: without what has a sensitive name, at any depth, and :func:`redact_text` within.

    Numbers and texts of a sensitive name are taken out; None, booleans and what is empty stay.
    """
    return _redacted(value, more_names() if names is None else names, secrets, depth=_DEEPEST)


def _redacted(value: Any, names: Collection[str], secrets: Collection[str], *, depth: int) -> Any:
    if isinstance(value, str):
        return redact_text(value, secrets, names=names)
    if not isinstance(value, (Mapping, list, tuple)):
        return value
    if not depth:
        return REDACTED
    if not isinstance(value, Mapping):
        return [_redacted(inner, names, secrets, depth=depth - 1) for inner in value]
    shown = {}
    for key, inner in value.items():
        is_secret = is_sensitive(str(key), names) and not _is_plain(inner)
        # A key may be a secret as well: {"eyJ...": 3}.
        name = redact_text(str(key), secrets, names=names)
        shown[name] = REDACTED if is_secret else _redacted(inner, names, secrets, depth=depth - 1)
    return shown


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool) or value in ("", [], {})


def secrets_in(value: Any, names: Collection[str] = ()) -> tuple[str, ...]:
    """The secrets of a JSON value, as texts to look for: what has a sensitive name, and telling forms within texts."""
    found: dict[str, None] = {}
    for secret in _secrets(value, names, is_secret=False):
        if len(secret) >= SHORTEST_SECRET:
            found[secret] = None
        if len(found) == _MOST_SECRETS:
            break
    return tuple(found)


def _secrets(value: Any, names: Collection[str], *, is_secret: bool, depth: int = _DEEPEST) -> Iterator[str]:
    if isinstance(value, Mapping) and depth:
        for key, inner in value.items():
            is_named = is_secret or is_sensitive(str(key), names)
            yield from _secrets(inner, names, is_secret=is_named, depth=depth - 1)
    elif isinstance(value, (list, tuple)) and depth:
        for inner in value:
            yield from _secrets(inner, names, is_secret=is_secret, depth=depth - 1)
    elif isinstance(value, str):
        if is_secret:
            yield value
        yield from secrets_in_text(value, names)
    elif is_secret and isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value)


def restored(edited: Any, stored: Any, *, shown: Any = None) -> Any:
    """What a person made of a value shown redacted: a text that they left as it was is again what is stored there.

    ``shown`` is what they saw; by default as :func:`redact` shows it. Raises :class:`~taskyard.errors.StillHidden` for
    a placeholder in another place, where nobody can tell what it stands for.
    """
    return _restored(edited, stored, redact(stored) if shown is None else shown, "")


def _restored(edited: Any, stored: Any, shown: Any, where: str) -> Any:
    if isinstance(edited, str):
        if edited == shown:
            return stored
        if REDACTED in edited:
            raise StillHidden(where)
    if isinstance(edited, Mapping):
        keys, found = _keys(stored, shown), {}
        for name, inner in edited.items():
            at = f"{where}.{name}"
            if name in keys:
                key = keys[name]
                found[key] = _restored(inner, stored[key], shown[name], at)
                continue
            if REDACTED in str(name):
                raise StillHidden(at)
            found[name] = _restored(inner, None, None, at)
        return found
    if isinstance(edited, (list, tuple)):
        # Of another length: which was taken out, or put in, cannot be told.
        is_same = all(isinstance(each, (list, tuple)) and len(each) == len(edited) for each in (stored, shown))
        olds = list(zip(stored, shown, strict=True)) if is_same else [(None, None)] * len(edited)
        return [_restored(new, olds[n][0], olds[n][1], f"{where}[{n}]") for n, new in enumerate(edited)]
    return edited


def _keys(stored: Any, shown: Any) -> dict[str, Any]:
    """What is stored under each name that was shown."""
    if not isinstance(stored, Mapping) or not isinstance(shown, Mapping) or len(stored) != len(shown):
        return {}
    return dict(zip(shown, stored, strict=True))
