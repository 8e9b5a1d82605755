"""What people type into one field, as values: durations, instants, JSON, a word from a long list."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "min": 60, "s": 1}
_SPELLED = {
    "w": "w", "wk": "w", "week": "w", "weeks": "w", "d": "d", "day": "d", "days": "d",
    "h": "h", "hr": "h", "hour": "h", "hours": "h", "m": "min", "min": "min", "mins": "min", "minute": "min",
    "minutes": "min", "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
}  # fmt: skip
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]+)\s*")


def duration_from(text: str) -> dt.timedelta:
    """``15 min``, ``1 h 30 min``, ``2 days``; raises :class:`ValueError` with a sentence."""
    parts = _PART.findall(text.lower())
    if not parts or _PART.sub("", text.lower()) or any(unit not in _SPELLED for _, unit in parts):
        raise ValueError(f"“{text:.80}” is no length of time: write it like 90 s, 15 min, 1 h 30 min or 2 d.")
    try:
        return sum((dt.timedelta(seconds=float(n) * _UNITS[_SPELLED[unit]]) for n, unit in parts), dt.timedelta())
    except OverflowError:
        raise ValueError(f"“{text:.80}” is longer than can be counted.") from None


def duration_in_words(length: dt.timedelta) -> str:
    """What :func:`duration_from` makes the same length of."""
    whole, fraction = divmod(length, dt.timedelta(seconds=1))
    parts = []
    for unit, seconds in list(_UNITS.items())[1:-1]:
        count, whole = divmod(whole, seconds)
        parts += [f"{count} {unit}"] if count else []
    if whole or fraction or not parts:
        parts.append(f"{whole + fraction.total_seconds():.6f}".rstrip("0").rstrip(".") + " s")
    return " ".join(parts)


class DurationField(forms.CharField):
    """A length of time in words; empty: None."""

    def prepare_value(self, value: Any) -> Any:
        return duration_in_words(value) if isinstance(value, dt.timedelta) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text or isinstance(value, dt.timedelta):
            return value or None
        try:
            return duration_from(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class MomentField(forms.DateTimeField):
    """An instant: a time of day in Django's current zone, or with an offset of its own."""

    widget = forms.TextInput

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, dt.datetime):
            return value
        exact = "auto" if value.second or value.microsecond else "minutes"
        # With its offset: one that clocks show twice is still one.
        return timezone.localtime(value).isoformat(" ", exact)

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except forms.ValidationError as error:
            if error.code != "invalid":
                # It has both the time and the zone in it.
                raise
            zone = timezone.get_current_timezone_name()
            example = "2027-02-01 08:00"
            raise forms.ValidationError(
                f"“{value:.80}” is no time: write it like {example} ({zone}), or with an offset, {example}+01:00."
            ) from error


class JsonField(forms.CharField):
    """JSON of one kind, a ``list`` or a ``dict``, in a text area; empty: an empty one."""

    widget = forms.Textarea

    def __init__(self, kind: type, **options: Any) -> None:
        self.kind = kind
        options.setdefault("widget", forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}))
        super().__init__(required=False, **options)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return value
        return json_text(value) if value else ""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, self.kind):
            return value
        text = super().to_python(value)
        if not text:
            return self.kind()
        found = self._read(text)
        if not isinstance(found, self.kind):
            wanted = 'an object, like {"report_id": 17}' if self.kind is dict else "a list, like [17, true]"
            raise forms.ValidationError(f"It must be {wanted}.")
        return found

    def _read(self, text: str) -> Any:
        try:
            return json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise forms.ValidationError(f"This is no JSON: {error.msg}, at {where}.") from error
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is no JSON to keep: {error}.") from error


def json_text(value: Any) -> str:
    """JSON as a person reads it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate, which no page can carry.
        return json.dumps(value, indent=2)
    return text


def _each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"“{name:.80}” is there twice")
        found[name] = value
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


class WordInput(forms.TextInput):
    """A text input that proposes words, any of which, or none, may be typed."""

    def __init__(self, words: Callable[[], Iterable[str]], attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "off", "spellcheck": "false", **(attrs or {})})
        self.words = words

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        at = f"{(attrs or {}).get('id', name)}_words"
        shown = super().render(name, value, {**(attrs or {}), "list": at}, renderer)
        return format_html('{}<datalist id="{}">{}</datalist>', shown, at, _options(tuple(self.words())))


@lru_cache(maxsize=8)
def _options(words: tuple[str, ...]) -> SafeString:
    return format_html_join("", '<option value="{}"></option>', ((word,) for word in words))
