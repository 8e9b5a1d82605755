"""What both clouds are told alike: whose a job is, where it calls, and which times its cron stands for."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from taskyard.errors import CannotSay, ConfigurationError
from taskyard.schedules.definitions.definition import Declaration
from taskyard.schedules.recurrence import Recurrence
from taskyard.schedules.recurrence.expression import values
from taskyard.schedules.target import Item, slug
from taskyard.schedules.targets.dialect import five_fields

#: First and last number of each field.
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
DAY, WEEKDAY = 2, 4

_MARK = re.compile(r'\[taskyard ([a-z0-9-]+) ([0-9a-f]{16}) ("(?:[^"\\]|\\.)*")\](?: (.*))?', re.DOTALL)


class Mark(NamedTuple):
    """What a description says of whose it is."""

    name: str
    seal: str
    #: What stands behind the mark.
    description: str


def marked(item: Item, owner: str) -> str:
    """The description of a job of ours: the mark, and the declaration's own."""
    return f"{_mark(owner, item.seal, item.name)} {item.fields['description']}".rstrip()


def read_mark(text: str, owner: str) -> Mark | None:
    """The mark in a description; None if it is not ours."""
    found = _MARK.fullmatch(text)
    if found is None or found[1] != owner:
        return None
    try:
        return Mark(str(json.loads(found[3])), found[2], found[4] or "")
    except ValueError:
        return None


def description_of(declaration: Declaration, owner: str, *, longest: int) -> str:
    """As much of a declaration's description as has room behind the mark."""
    room = longest - len(_mark(owner, "0" * 16, declaration.name)) - 1
    return " ".join(declaration.definition.description.split())[: max(0, room)].rstrip()


def _mark(owner: str, seal: str, name: str) -> str:
    return f"[taskyard {owner} {seal} {json.dumps(name, ensure_ascii=False)}]"


def key_of(name: str, owner: str, *, longest: int) -> str:
    """What a job is called there."""
    return slug(f"{owner}-{name}", longest)


def prefix_of(owner: str) -> str:
    """How every job of an owner begins."""
    return f"{owner}-" if owner[0].isalpha() else f"s-{owner}-"


def address_of(declaration: Declaration, url: str) -> str:
    """Where a schedule is called for: its own path, or its name behind ``url``."""
    if declaration.http_path:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}{declaration.http_path}"
    return f"{url.rstrip('/')}/{quote(declaration.name, safe='')}"


def checked_url(url: str) -> None:
    """Raise a ValueError for what is no https address."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            f"url must be the https address where taskyard.integrations.trigger.urls is included; it is {url!r}"
        )


def numbers_of(target: str, recurrence: Recurrence) -> tuple[list[list[int]], str]:
    """The numbers of each of the five fields, with 0 for Sunday, and the time zone they are meant in.

    Raises :class:`~taskyard.errors.CannotSay`, also where days of the month and of the week are both limited: how they
    go together differs from cron to cron.
    """
    expression, zone = five_fields(target, recurrence, days="debian")
    found = [numbers_in(index, text) for index, text in enumerate(expression.split())]
    if not is_all(DAY, found[DAY]) and not is_all(WEEKDAY, found[WEEKDAY]):
        raise CannotSay(target, "it cannot limit the day of the month and the day of the week at once")
    return found, zone


def numbers_in(index: int, text: str) -> list[int]:
    """The numbers that a field stands for, which has no L and no #."""
    return sorted({int(value) % 7 if index == WEEKDAY else int(value) for value in values(index, text)})  # type: ignore[arg-type]


def plain(numbers: list[list[int]]) -> str:
    """The five fields as lists of numbers, for a comparison."""
    return " ".join("*" if is_all(index, each) else ",".join(map(str, each)) for index, each in enumerate(numbers))


def is_all(index: int, numbers: Collection[int]) -> bool:
    """Whether a field is not limited."""
    low, high = LIMITS[index]
    return len(numbers) == high - low + 1


def steps_of(numbers: list[int]) -> set[int]:
    """The distances between neighbours."""
    return {after - before for before, after in itertools.pairwise(numbers)}


def step_of(index: int, numbers: list[int]) -> int | None:
    """The step with which they go from the first to the end of the field; None if they do not."""
    steps = steps_of(numbers)
    if len(numbers) < 3 or len(steps) != 1:
        return None
    (step,) = steps
    return step if numbers[-1] + step > LIMITS[index][1] else None


@contextmanager
def library(extra: str) -> Iterator[None]:
    """Around the import of a cloud's library."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            [f"The library of that cloud is missing ({error}): pip install 'taskyard[{extra}]'."]
        ) from error


def rest_of(whole: Mapping[str, object], known: Collection[str]) -> str:
    """What somebody set beside what we say, as text; empty if nothing."""
    rest = {name: value for name, value in whole.items() if name not in known and value not in (None, "", {}, [])}
    return json.dumps(rest, sort_keys=True, default=str) if rest else ""
