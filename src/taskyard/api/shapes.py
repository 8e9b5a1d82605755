"""What requests and answers look like: one declaration reads input strictly and describes itself in JSON Schema."""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

_SCHEMA = dict[str, Any]


class Wrong(Exception):
    """Input that cannot be meant: which field, and a sentence about it."""

    def __init__(self, field: str, problem: str) -> None:
        self.field, self.problem = field, problem
        super().__init__(f"{field}: {problem}")


class Shape:
    """What a value looks like."""

    def read(self, field: str, value: Any) -> Any:
        """The value as code takes it; raises :class:`Wrong`. Of an answer's shape nobody asks."""
        raise NotImplementedError

    def parse(self, field: str, text: str) -> Any:
        """The same of a text in an address."""
        return self.read(field, text)

    def schema(self) -> _SCHEMA:
        """In the words of JSON Schema 2020-12."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, slots=True)
class Text(Shape):
    """A string, without NUL and lone surrogates: no database takes those."""

    most: int | None = None
    least: int = 0
    says: str = ""
    format: str = ""

    def read(self, field: str, value: Any) -> str:
        if not isinstance(value, str):
            raise Wrong(field, "it must be a string.")
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise Wrong(field, "it holds a character that is none (NUL, or half of a pair).")
        if self.most is not None and not self.least <= len(value) <= self.most:
            raise Wrong(field, f"it must have {self.least} to {self.most:,} characters; it has {len(value):,}.")
        return value

    def schema(self) -> _SCHEMA:
        said = {"type": "string", "minLength": self.least or None, "maxLength": self.most}
        return _given({**said, "format": self.format, "description": self.says})


@dataclasses.dataclass(frozen=True, slots=True)
class Whole(Shape):
    """A whole number."""

    least: int | None = None
    most: int | None = None
    says: str = ""

    def read(self, field: str, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            # JSON has one kind of number.
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(field, "it must be a whole number.")
        least, most = self.least, self.most
        if (least is not None and value < least) or (most is not None and value > most):
            raise Wrong(field, f"it must be {_between(least, most)}; it is {value!r:.30}.")
        return value

    def parse(self, field: str, text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
            raise Wrong(field, "it must be a whole number.")
        return self.read(field, int(text))

    def schema(self) -> _SCHEMA:
        return _given({"type": "integer", "minimum": self.least, "maximum": self.most, "description": self.says})


def _between(least: float | None, most: float | None) -> str:
    if most is None:
        return f"{least:,} or more"
    return f"{least:,} to {most:,}" if least is not None else f"at most {most:,}"


@dataclasses.dataclass(frozen=True, slots=True)
class Number(Shape):
    """A number, whole or not."""

    #: It must be more than this, or with ``from_least`` at least this.
    least: float | None = None
    most: float | None = None
    from_least: bool = False
    says: str = ""

    def read(self, field: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Wrong(field, "it must be a number.")
        is_small = self.least is not None and (value < self.least or (value == self.least and not self.from_least))
        is_large = self.most is not None and value > self.most
        if is_small or is_large or not math.isfinite(value):
            above = f"{'at least' if self.from_least else 'above'} {self.least:g}" if self.least is not None else ""
            below = f"at most {self.most:,g}" if self.most is not None else ""
            raise Wrong(field, f"it must be {' and '.join(filter(None, (above, below)))}.")
        return float(value)

    def schema(self) -> _SCHEMA:
        least = "minimum" if self.from_least else "exclusiveMinimum"
        return _given({"type": "number", least: self.least, "maximum": self.most, "description": self.says})


@dataclasses.dataclass(frozen=True, slots=True)
class Flag(Shape):
    """True or false."""

    says: str = ""

    def read(self, field: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise Wrong(field, "it must be true or false.")
        return value

    def parse(self, field: str, text: str) -> bool:
        if text not in ("true", "false"):
            raise Wrong(field, "it must be true or false.")
        return text == "true"

    def schema(self) -> _SCHEMA:
        return _given({"type": "boolean", "description": self.says})


@dataclasses.dataclass(frozen=True, slots=True)
class Moment(Shape):
    """A time with its zone, by RFC 3339; UTC in answers."""

    says: str = ""

    def read(self, field: str, value: Any) -> dt.datetime:
        try:
            if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", value, re.ASCII):
                moment = dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)
                # Without a zone it would be taken for this server's.
                if dt.datetime.fromisoformat(value.upper()).utcoffset() is not None:
                    return moment
        except (ValueError, OverflowError):
            pass
        raise Wrong(field, "it must be a time with a zone, such as 2027-02-01T08:00:00Z.")

    def schema(self) -> _SCHEMA:
        return _given({"type": "string", "format": "date-time", "description": self.says})


@dataclasses.dataclass(frozen=True, slots=True)
class OneOf(Shape):
    """One of some words."""

    words: tuple[str, ...]
    says: str = ""

    def read(self, field: str, value: Any) -> str:
        if not isinstance(value, str) or value not in self.words:
            near = difflib.get_close_matches(value, self.words, n=1) if isinstance(value, str) else []
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise Wrong(field, f"it must be one of {', '.join(self.words)}.{hint}")
        return value

    def schema(self) -> _SCHEMA:
        return _given({"type": "string", "enum": list(self.words), "description": self.says})


@dataclasses.dataclass(frozen=True, slots=True)
class ListOf(Shape):
    """An array; in an address the parameter may be repeated."""

    each: Shape
    least: int = 0
    most: int | None = None
    says: str = ""

    def read(self, field: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Wrong(field, "it must be an array.")
        if self.most is not None and not self.least <= len(value) <= self.most:
            raise Wrong(field, f"it must have {self.least} to {self.most:,} members; it has {len(value):,}.")
        return [self.each.read(f"{field}[{place}]", one) for place, one in enumerate(value)]

    def parse_all(self, field: str, texts: Sequence[str]) -> list[Any]:
        """Of a parameter that is repeated."""
        if self.most is not None and not self.least <= len(texts) <= self.most:
            raise Wrong(field, f"give it {self.least} to {self.most:,} times; it is there {len(texts):,} times.")
        return [self.each.parse(field, text) for text in texts]

    def schema(self) -> _SCHEMA:
        said = {"type": "array", "items": self.each.schema(), "minItems": self.least or None, "maxItems": self.most}
        return _given({**said, "description": self.says})


@dataclasses.dataclass(frozen=True, slots=True)
class Anything(Shape):
    """Any JSON, or any of one kind."""

    kind: type | None = None
    says: str = ""

    def read(self, field: str, value: Any) -> Any:
        if self.kind is not None and not isinstance(value, self.kind):
            raise Wrong(field, f"it must be an {'array' if self.kind is list else 'object'}.")
        return value

    def schema(self) -> _SCHEMA:
        kinds: dict[type | None, _SCHEMA] = {list: {"type": "array"}, dict: {"type": "object"}, None: {}}
        return _given({**kinds[self.kind], "description": self.says})


@dataclasses.dataclass(frozen=True, slots=True)
class MapOf(Shape):
    """An object with any names; for answers."""

    each: Shape
    says: str = ""

    def schema(self) -> _SCHEMA:
        return _given({"type": "object", "additionalProperties": self.each.schema(), "description": self.says})


@dataclasses.dataclass(frozen=True, slots=True)
class OrNull(Shape):
    """The same, or null."""

    shape: Shape

    def read(self, field: str, value: Any) -> Any:
        return None if value is None else self.shape.read(field, value)

    def schema(self) -> _SCHEMA:
        inner = self.shape.schema()
        if "enum" in inner:
            return {**inner, "type": [inner["type"], "null"], "enum": [*inner["enum"], None]}
        if isinstance(inner.get("type"), str):
            return {**inner, "type": [inner["type"], "null"]}
        return {"anyOf": [inner, {"type": "null"}]} if inner else {}


@dataclasses.dataclass(frozen=True, slots=True)
class Object(Shape):
    """An object of these fields and no others; those that are not optional must be there."""

    fields: Mapping[str, Shape]
    optional: frozenset[str] = frozenset()
    #: It stands under this name among the components of the OpenAPI document.
    name: str = ""

    def read(self, field: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Wrong(field, "it must be an object.")
        refuse_unknown(field, given=value, known=self.fields)
        for name in self.fields:
            if name not in value and name not in self.optional:
                raise Wrong(_within(field, name), "it is missing.")
        return {
            name: shape.read(_within(field, name), value[name]) for name, shape in self.fields.items() if name in value
        }

    def schema(self) -> _SCHEMA:
        return {"$ref": f"#/components/schemas/{self.name}"} if self.name else self.whole_schema()

    def whole_schema(self) -> _SCHEMA:
        """Itself, where :meth:`schema` gives a reference."""
        required = [name for name in self.fields if name not in self.optional]
        return {
            "type": "object", "properties": {name: shape.schema() for name, shape in self.fields.items()},
            "required": required, "additionalProperties": False,
        }  # fmt: skip


def body(*, optional: str = "", **fields: Shape) -> Object:
    """What a request brings: ``optional`` names the fields that may be left out, ``*`` all of them."""
    names = fields if optional == "*" else optional.split()
    return Object(fields, frozenset(names))


def refuse_unknown(field: str, *, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raises :class:`Wrong` for a name that is not known: a misspelt filter must not be no filter."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There is {', '.join(known) or 'nothing'}."
            raise Wrong(_within(field, f"{name!s:.100}"), f"it is not known here.{hint}")


def _within(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _given(said: _SCHEMA) -> _SCHEMA:
    return {name: value for name, value in said.items() if value not in (None, "")}
