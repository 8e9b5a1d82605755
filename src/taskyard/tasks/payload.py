"""Arguments as strict JSON text, and the sentence when they are not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from taskyard.errors import NotJson, PayloadTooLarge

#: ``ensure_ascii`` (the default) writes NUL and lone surrogates as escapes, which every database's text column takes.
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def encode_value(task: str, where: str, value: Any) -> str:
    """One value as JSON text; raises :class:`NotJson` naming ``where`` it stands."""
    try:
        text = _encode(value)
        if isinstance(value, (Mapping, list, tuple)):
            _refuse_odd_keys(task, where, value)
    except NotJson:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(task, where, str(error)) from error
    return text


def encode_arguments(task: str, args: Sequence[Any], kwargs: Mapping[str, Any], limit_bytes: int) -> tuple[str, str]:
    """Positional and keyword arguments as two JSON texts.

    Raises :class:`NotJson` naming the argument, or :class:`PayloadTooLarge`.
    """
    try:
        texts = _encode(list(args)), _encode(kwargs)
    except (TypeError, ValueError, RecursionError):
        for index, value in enumerate(args):
            encode_value(task, f"argument {index + 1}", value)
        for name, value in kwargs.items():
            encode_value(task, f"argument {name!r}", value)
        raise
    for place, given in (*enumerate(args, 1), *kwargs.items()):
        if isinstance(given, (Mapping, list, tuple)):
            try:
                _refuse_odd_keys(task, f"argument {place!r}", given)
            except RecursionError as error:
                raise NotJson(task, f"argument {place!r}", "it is nested too deep") from error
    size = len(texts[0]) + len(texts[1])
    if size > limit_bytes:
        raise PayloadTooLarge(task, size, limit_bytes)
    return texts


def _refuse_odd_keys(task: str, where: str, value: Any) -> None:
    # json turns {1: ...} into {"1": ...} without a word; the task would see other keys than the caller wrote.
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise NotJson(task, where, f"the key {key!r} is not a string")
            _refuse_odd_keys(task, where, inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _refuse_odd_keys(task, where, inner)
