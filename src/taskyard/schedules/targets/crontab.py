"""A crontab: a block of lines between two marks in a file; what is around it is not ours."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from taskyard.errors import CannotSay, DamagedTarget
from taskyard.schedules.definitions.definition import Declaration
from taskyard.schedules.recurrence import Cron
from taskyard.schedules.recurrence.zones import zone_named
from taskyard.schedules.target import Change, Found, Item, Standing, Target
from taskyard.schedules.targets.dialect import five_fields, refuse_differences, refuse_window
from taskyard.schedules.targets.files import call, project_folder, read_text, replace_text

_MARK = "# taskyard: "
_FIELDS = 5
#: cron drops whatever is longer.
_LONGEST_LINE = 998


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CrontabOptions:
    """``SCHEDULE_TARGETS["crontab"]``."""

    #: The file: one of ``/etc/cron.d`` (with ``user``), or one that ``crontab FILE`` loads.
    path: str = ""
    #: The user that its lines name, as those of /etc/cron.d do; empty: they name none.
    user: str = ""
    #: The time zone of the machine, in which cron reads every line.
    timezone: str = "UTC"
    #: What starts Taskyard; default: this Python with ``-m taskyard``.
    command: Sequence[str] = (sys.executable, "-m", "taskyard")
    #: Where it is started; default: the settings' BASE_DIR.
    directory: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path, the file to be written, must be given")
        if not self.command:
            raise ValueError("command must have a word at least")
        zone_named(self.timezone)


class Crontab(Target):
    """Lines for cron as Debian has it (Vixie's); each begins the schedule's due times, and they are decided here.

    Nothing is written that would leave a half-written file: it is replaced as a whole. Lines outside of the block stay
    as they are, and lines inside that no sync wrote are moved below it.
    """

    name: ClassVar[str] = "crontab"
    Options: ClassVar[type] = CrontabOptions
    options: CrontabOptions

    def translate(self, declaration: Declaration) -> Item:
        """``schedule`` (five fields), ``command``, and ``user`` if there is one."""
        definition = declaration.definition
        refuse_window(self.name, definition)
        expression, _ = five_fields(self.name, definition.recurrence, days="debian")
        said = _as_cron_reads(expression, self.options.timezone)
        refuse_differences(self.name, definition.recurrence, said=said, since=self.since)
        fields = {"schedule": expression, "command": self._command(declaration.name)}
        item = Item(
            declaration.name, declaration.name, fields | ({"user": self.options.user} if self.options.user else {})
        )
        if len(_line(item.fields)) > _LONGEST_LINE:
            raise CannotSay(self.name, f"the line would be longer than the {_LONGEST_LINE} characters that cron reads")
        return item

    def _command(self, name: str) -> str:
        folder = self.options.directory or project_folder()
        words = shlex.join([*self.options.command, *call(name)])
        # A percent sign is the end of a line to cron.
        return (f"cd {shlex.quote(folder)} && exec {words}" if folder else words).replace("%", r"\%")

    def read(self) -> Found:
        """The entries of the block."""
        block = _split(read_text(Path(self.options.path)), self.owner, self.options.path)
        entries = {standing.item.key: standing for standing in _entries(block.inside, bool(self.options.user))[0]}
        return Found(entries)

    def apply(self, changes: Sequence[Change]) -> None:
        """Replace the file, with its permissions; raises :class:`OSError`."""
        path = Path(self.options.path)
        text = read_text(path)
        replace_text(path, before=text, after=self._changed(text, changes))

    def _changed(self, text: str, changes: Iterable[Change]) -> str:
        block = _split(text, self.owner, self.options.path)
        standing, strays = _entries(block.inside, bool(self.options.user))
        kept = {one.item.key: (one.item, one.seal) for one in standing}
        for change in changes:
            kept.pop(change.key, None)
            if change.item is not None:
                kept[change.key] = (change.item, change.item.seal)
        return block.around(_written(kept, self.owner), strays)

    def shown(self, item: Item) -> str:
        """The two lines of one entry."""
        return "".join(f"{line}\n" for line in _lines(item, item.seal))

    def hint(self) -> str:
        """What is to be done after a change, in words."""
        return "" if self.options.user else f"Now load it: crontab {shlex.quote(self.options.path)}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Block:
    """A file: what is before our lines, ours, and what is behind them."""

    before: str
    inside: list[str]
    behind: str

    def around(self, lines: Sequence[str], strays: Sequence[str]) -> str:
        before = self.before if not self.before or self.before.endswith("\n") else f"{self.before}\n"
        return before + "".join(f"{line}\n" for line in (*lines, *strays)) + self.behind


def _marks(owner: str) -> tuple[str, str]:
    return f"# >>> taskyard {owner}", f"# <<< taskyard {owner}"


def _split(text: str, owner: str, path: str) -> _Block:
    first, last = _marks(owner)
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    places = [[n for n, line in enumerate(lines) if line.rstrip() == mark] for mark in (first, last)]
    if not any(places):
        return _Block(text, [], "")
    starts, ends = places
    if len(starts) != 1 or len(ends) != 1 or ends[0] < starts[0]:
        raise DamagedTarget(path, f"the lines {first!r} and {last!r} must stand there once each, in this order")
    return _Block(
        "".join(lines[: starts[0]]), [line.rstrip("\n") for line in lines[starts[0] + 1 : ends[0]]],
        "".join(lines[ends[0] + 1 :]),
    )  # fmt: skip


def _entries(lines: Sequence[str], has_user: bool) -> tuple[list[Standing], list[str]]:
    """What a sync wrote, as it stands now, and lines that it did not write."""
    found: list[Standing] = []
    strays: list[str] = []
    rest = iter(lines)
    for line in rest:
        mark = _mark_in(line)
        if mark is None:
            strays += [line] if line.strip() else []
            continue
        fields = _fields_in(next(rest, ""), has_user)
        found.append(Standing(Item(mark["name"], mark["name"], fields), mark["seal"]))
    return found, strays


def _mark_in(line: str) -> dict[str, str] | None:
    if not line.startswith(_MARK):
        return None
    try:
        mark = json.loads(line.removeprefix(_MARK))
    except ValueError:
        return None
    is_one = isinstance(mark, dict) and isinstance(mark.get("name"), str) and isinstance(mark.get("seal"), str)
    return mark if is_one else None


def _fields_in(line: str, has_user: bool) -> dict[str, Any]:
    words = line.split(None, _FIELDS + has_user)
    if line.startswith("#") or len(words) != _FIELDS + has_user + 1:
        return {"line": line}
    fields = {"schedule": " ".join(words[:_FIELDS]), "command": words[-1]}
    return fields | ({"user": words[_FIELDS]} if has_user else {})


def _line(fields: Mapping[str, Any]) -> str:
    if "line" in fields:
        return str(fields["line"])
    return " ".join([fields["schedule"], *([fields["user"]] if "user" in fields else []), fields["command"]])


def _lines(item: Item, seal: str) -> list[str]:
    return [_MARK + json.dumps({"name": item.name, "seal": seal}), _line(item.fields)]


def _written(kept: Mapping[str, tuple[Item, str]], owner: str) -> list[str]:
    if not kept:
        return []
    first, last = _marks(owner)
    lines = [first]
    for key in sorted(kept):
        item, seal = kept[key]
        lines += _lines(item, seal)
    return [*lines, last]


def _as_cron_reads(expression: str, timezone: str) -> Cron:
    """Vixie's cron runs fixed times that were skipped right after the change, and repeated ones once; where minute or
    hour begin with a star it runs by what clocks show."""
    minute, hour, *_ = expression.split()
    if minute.startswith("*") or hour.startswith("*"):
        return Cron(expression, timezone=timezone, gap="skip", fold="both")
    return Cron(expression, timezone=timezone, gap="next_valid", fold="first")
