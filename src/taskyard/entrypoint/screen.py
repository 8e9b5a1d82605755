"""What goes to the terminal: tables, colours, durations, JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from taskyard.monitoring.words import duration as duration  # as all who write to it need it

_CODES = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "grey": "90",
    "bold": "1",
}

#: Words that have a colour wherever a table shows them.
_MEANINGS = {
    "failed": "red", "fail": "red", "lost": "red", "silent": "red", "no worker": "red",
    "succeeded": "green", "ok": "green", "alive": "green",
    "needs_attention": "red", "completed": "green", "compensated": "yellow", "compensating": "yellow",
    "retrying": "yellow", "warn": "yellow", "paused": "yellow", "stopping": "yellow",
    "running": "cyan", "queued": "blue", "cancelled": "grey",
}  # fmt: skip


#: Before the further lines of a row that does not fit on one.
_FURTHER = "    "
#: An empty cell.
_NOTHING = "-"
#: So much of a text in the last column is worth to be read; less of it stands on a line of its own.
_LEGIBLE = 30


class Screen:
    """Where a command writes: results to ``out``, what it says about itself to ``err``."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.is_terminal = self.out.isatty()
        #: Whether what stands at the end of the screen can be drawn anew.
        self.is_live = self.is_terminal and os.environ.get("TERM") != "dumb"
        self.has_colour = self.is_live and not os.environ.get("NO_COLOR")

    @property
    def width(self) -> int:
        """Columns of the terminal; without one, wide enough not to cut."""
        return shutil.get_terminal_size((100, 24)).columns if self.is_terminal else 10_000

    def line(self, text: str = "") -> None:
        """One line of the result."""
        self.out.write(text + "\n")
        self.out.flush()

    def note(self, text: str) -> None:
        """Something about the command itself."""
        self.err.write(text + "\n")
        self.err.flush()

    def heading(self, text: str) -> None:
        """The title of what follows."""
        self.line(self.paint(text, "bold"))

    def json(self, value: Any) -> None:
        """One JSON document."""
        self.line(json.dumps(value, indent=2, default=plain))

    def json_line(self, value: Any) -> None:
        """One JSON document on one line, for streams."""
        self.line(json.dumps(value, default=plain))

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, where there are colours."""
        return f"\033[{_CODES[colour]}m{text}\033[0m" if self.has_colour and colour else text

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, indent: str = "") -> None:
        """Rows under their headings; numbers stand right. Columns that do not fit stand on a further line of each row,
        and a last column that does not is cut at the terminal's edge.
        """
        for line in self.table_lines(columns, list(rows), indent=indent):
            self.line(line)

    def table_lines(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, indent: str = "") -> list[str]:
        """The lines of :meth:`table`."""
        cells = [[shown(value) for value in row] for row in rows]
        widths = [max([len(title), *(len(row[i]) for row in cells)]) for i, title in enumerate(columns)]
        numeric = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
        parts = _folded(widths, self.width - len(indent))
        lines = []
        for row, colour in ((columns, "grey"), *((row, "") for row in cells)):
            for number, part in enumerate(parts):
                if number and all(cell == _NOTHING for cell in row[part]):
                    continue
                pad = indent + (_FURTHER if number else "")
                lines.append(self._row(row[part], widths[part], numeric[part], indent=pad, colour=colour))
        return lines

    def _row(
        self, cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool], *, indent: str, colour: str = ""
    ) -> str:
        room = self.width - len(indent)
        parts = []
        for cell, width, is_number in zip(cells, widths, numeric, strict=True):
            text = cell.rjust(width) if is_number else cell.ljust(width)
            if room < len(text):
                text = cut(text.rstrip(), max(room, 0))
            room -= len(text) + 2
            parts.append(self.paint(text, colour or _MEANINGS.get(cell, "")) if text else "")
        return (indent + "  ".join(parts)).rstrip()


def _folded(widths: Sequence[int], room: int) -> list[slice]:
    """Which columns stand on one line; enough of the last one does where its beginning can be read."""
    first, used, parts = 0, 0, []
    for place, width in enumerate(widths):
        needed = min(width, _LEGIBLE) if place == len(widths) - 1 else width
        if place > first and used + needed > room:
            parts.append(slice(first, place))
            first, used = place, len(_FURTHER)
        used += width + 2
    return [*parts, slice(first, len(widths))]


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def shown(value: Any) -> str:
    """A value as a table shows it."""
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return " ".join(str(value).split())


def cut(text: str, width: int) -> str:
    """At most ``width`` characters, the cut shown."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"[: max(width, 0)]


def ago(moment: dt.datetime | None, now: dt.datetime) -> str:
    """How long ago a moment was, or how far ahead it lies."""
    if moment is None:
        return "-"
    seconds = (now - moment).total_seconds()
    return f"in {duration(-seconds)}" if seconds < 0 else f"{duration(seconds)} ago"


def stamp(moment: dt.datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "-" if moment is None else moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def bar(share: float, width: int = 24) -> str:
    """A progress bar; ``share`` from 0 to 1."""
    share = min(max(share, 0.0), 1.0)
    eighths = round(share * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width, "░")


def plain(value: Any) -> Any:
    """What JSON makes of values it does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (uuid.UUID, enum.Enum)):
        return str(value)
    return repr(value)
