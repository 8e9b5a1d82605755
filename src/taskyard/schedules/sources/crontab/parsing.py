"""The text of a crontab file as lines and problems; pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterator, Mapping

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.decisions import CatchUp, Overlap
from taskyard.schedules.recurrence import Cron
from taskyard.schedules.recurrence.zones import zone_named
from taskyard.schedules.sources.crontab.command import BrokenCommand, Command, understood

#: The longest line, in characters.
LONGEST_LINE = 8_000
_FIELDS = 5
_ZONE = "CRON_TZ"
_ASSIGNMENT = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>.*?)\s*$")
_WORD = re.compile(r"\S+")
_OPTION = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S*))?(?=\s|$)")
_LENGTH = re.compile(r"(?P<number>\d{1,6})(?P<unit>[smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)
#: Longest name that is made of a command.
_LONGEST_NAME = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """What cannot be read, and where; lines and columns count from 1."""

    file: str
    line: int
    column: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.problem}"


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What a line says of itself in front of its command, as ``--name=value``."""

    #: Its name within its file; empty: made of the command.
    name: str = ""
    for_each_tenant: bool = False
    #: With ``for_each_tenant``: over how long the runs are spread.
    spread: dt.timedelta = dt.timedelta(0)
    #: None: that of the settings.
    time_limit: dt.timedelta | None = None
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.ONE


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One command and when it runs."""

    number: int
    #: Where the command begins.
    column: int
    recurrence: Cron
    #: The command as it stands in the file, without the line's own options.
    text: str
    command: Command
    options: Options
    #: Assignments above it in the file.
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """As it says, else the words of its command: it stays the same when the line moves, or runs at other times."""
        if self.options.name:
            return self.options.name
        said = " ".join(self.command.argv) or self.command.script
        return re.sub(r"[^\w.]+", "-", said, flags=re.ASCII).strip("-.")[:_LONGEST_NAME].rstrip("-.") or "command"


class _Unreadable(Exception):
    """A problem at an index of the line."""

    def __init__(self, problem: str, at: int = 0) -> None:
        self.problem, self.at = problem, at
        super().__init__(problem)


class _Reader:
    """Reads one file from its first line to its last: what is assigned holds for the lines below it."""

    def __init__(self, file: str, timezone: str) -> None:
        self.file, self.timezone = file, timezone
        self.environment: dict[str, str] = {}
        #: Number of the line whose zone cannot be read.
        self.without_zone_since = 0
        self.lines: list[Line] = []
        self.problems: list[Problem] = []

    def read(self, number: int, text: str) -> None:
        try:
            self._read(number, text)
        except _Unreadable as error:
            self.problems.append(Problem(self.file, number, error.at + 1, error.problem))

    def _read(self, number: int, text: str) -> None:
        if not text.strip() or text.lstrip().startswith("#"):
            return
        _refuse_odd(text)
        if assignment := _ASSIGNMENT.match(text):
            self._assign(number, assignment)
            return
        if self.without_zone_since:
            raise _Unreadable(f"nobody knows its time zone: see {_ZONE} in line {self.without_zone_since}")
        self.lines.append(_line(number, text, timezone=self.timezone, environment=self.environment))

    def _assign(self, number: int, found: re.Match[str]) -> None:
        name, value = found["name"], found["value"]
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if name != _ZONE:
            self.environment = {**self.environment, name: value}
            return
        # Lines below must not run at other times than was meant.
        self.without_zone_since = number
        try:
            zone_named(value)
        except InvalidRecurrence as error:
            raise _Unreadable(str(error), found.start("value")) from None
        self.timezone, self.without_zone_since = value, 0


def parse(text: str, *, file: str, timezone: str) -> tuple[list[Line], list[Problem]]:
    """Every line that can be read, and what cannot be read of the others; a broken line stops no other.

    ``timezone`` holds until a ``CRON_TZ=`` says otherwise. ``file`` is what problems call it.
    """
    reader = _Reader(file, timezone)
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        reader.read(number, line.removesuffix("\r"))
    return reader.lines, reader.problems


def _refuse_odd(text: str) -> None:
    if len(text) > LONGEST_LINE:
        raise _Unreadable(f"the line has {len(text):,} characters, at most {LONGEST_LINE:,} are read", LONGEST_LINE)
    for place, letter in enumerate(text):
        if letter == "\ufffd" or (letter < " " and letter != "\t"):
            raise _Unreadable("a character that is no text; the file must be UTF-8", place)


def _line(number: int, text: str, *, timezone: str, environment: Mapping[str, str]) -> Line:
    recurrence, end = _recurrence(text, timezone)
    options, start = _options(text, end)
    try:
        command = understood(text[start:].rstrip())
    except BrokenCommand as error:
        raise _Unreadable(error.problem, start + error.at) from None
    return Line(number, start + 1, recurrence, text[start:].strip(), command, options, environment)


def _recurrence(text: str, timezone: str) -> tuple[Cron, int]:
    """When it is due, and where that ends in the line."""
    words = list(_WORD.finditer(text))
    fields = words[:1] if words[0][0].startswith("@") else words[:_FIELDS]
    expression = " ".join(word[0] for word in fields)
    try:
        recurrence = Cron(expression, timezone=timezone)
    except InvalidRecurrence as error:
        raise _Unreadable(str(error), _first_wrong(fields).start()) from None
    return recurrence, fields[-1].end()


def _first_wrong(fields: list[re.Match[str]]) -> re.Match[str]:
    """The field that means nothing beside stars alone, else the first: it is the whole that would never be due."""
    for place, field in enumerate(fields if len(fields) == _FIELDS else ()):
        alone = ["*"] * _FIELDS
        alone[place] = field[0]
        try:
            Cron(" ".join(alone))
        except InvalidRecurrence:
            return field
    return fields[0]


def _options(text: str, end: int) -> tuple[Options, int]:
    """What stands in front of the command, and where the command begins."""
    said: dict[str, object] = {}
    place = _next_word(text, end)
    while found := _OPTION.match(text, place):
        name, value = found["name"].replace("-", "_"), found["value"]
        if name in said:
            raise _Unreadable(f"--{found['name']} is given twice", place)
        try:
            said[name] = _READ[name](value)
        except KeyError:
            raise _Unreadable(f"there is no option --{found['name']}; there are: {_KNOWN}", place) from None
        except ValueError as error:
            raise _Unreadable(f"--{found['name']} {error}", place) from None
        place = _next_word(text, found.end())
    if "spread" in said and not said.get("for_each_tenant"):
        raise _Unreadable("--spread goes with --for-each-tenant", _next_word(text, end))
    return Options(**said), place  # type: ignore[arg-type]


def _next_word(text: str, place: int) -> int:
    found = _WORD.search(text, place)
    return found.start() if found else len(text.rstrip())


def _flag(value: str | None) -> bool:
    if value is not None:
        raise ValueError("takes no value")
    return True


def _as_name(value: str | None) -> str:
    if value is None or not _NAME.fullmatch(value):
        raise ValueError("takes 1 to 100 letters, digits, dots, dashes and underscores: --name=nightly-report")
    return value


def _as_length(value: str | None) -> dt.timedelta:
    found = _LENGTH.fullmatch(value or "")
    if found is None or not int(found["number"]):
        raise ValueError("takes a length of time such as 90s, 15m, 12h or 2d, behind a = and without a space")
    return dt.timedelta(**{_UNITS[found["unit"]]: int(found["number"])})


def _as_overlap(value: str | None) -> Overlap:
    return Overlap(_one_of(value, [one.value for one in Overlap]))


def _as_catch_up(value: str | None) -> CatchUp:
    return CatchUp(_one_of(value, [CatchUp.ONE.value, CatchUp.NONE.value, CatchUp.ALL.value]))


def _one_of(value: str | None, known: list[str]) -> str:
    if value not in known:
        raise ValueError(f"takes one of {', '.join(known)}")
    return value


_READ = {
    "name": _as_name, "for_each_tenant": _flag, "spread": _as_length, "time_limit": _as_length,
    "overlap": _as_overlap, "catch_up": _as_catch_up,
}  # fmt: skip
_KNOWN = ", ".join(f"--{name.replace('_', '-')}" for name in _READ)


def numbered(names: list[str]) -> Iterator[str]:
    """The names, those that come again with a number behind them, in order; to some databases case is no difference."""
    taken: set[str] = set()
    for name in names:
        given, number = name, 1
        while given.lower() in taken:
            number += 1
            given = f"{name}-{number}"
        taken.add(given.lower())
        yield given
