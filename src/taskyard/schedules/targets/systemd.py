"""systemd: a timer and the service it starts for each schedule, as unit files in a folder."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from taskyard.errors import CannotSay
from taskyard.schedules.decisions import ON_TIME, CatchUp
from taskyard.schedules.definitions.definition import Declaration, Definition
from taskyard.schedules.recurrence import Cron
from taskyard.schedules.target import Change, Found, Item, Standing, Target, slug
from taskyard.schedules.targets.dialect import refuse_differences
from taskyard.schedules.targets.files import call, files_in, project_folder, read_text, remove, replace_text
from taskyard.schedules.targets.oncalendar import on_calendar

_MARK = "# taskyard: "
#: Names of files end at 255; this leaves room for what is before and behind.
_LONGEST_NAME = 120


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SystemdOptions:
    """``SCHEDULE_TARGETS["systemd"]``."""

    #: The folder: /etc/systemd/system, or ~/.config/systemd/user.
    path: str = ""
    #: The user that services run as; empty: the manager's.
    user: str = ""
    #: What starts Taskyard; default: this Python with ``-m taskyard``.
    command: Sequence[str] = (sys.executable, "-m", "taskyard")
    #: Where it is started; default: the settings' BASE_DIR.
    directory: str = ""
    #: More lines of the service, such as ``{"EnvironmentFile": "/etc/shop.env"}``.
    service: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path, the folder of the units, must be given")
        if not self.command:
            raise ValueError("command must have a word at least")


class Systemd(Target):
    """Units for systemd 247 and later. The service enqueues what is due and ends; workers run it."""

    name: ClassVar[str] = "systemd"
    Options: ClassVar[type] = SystemdOptions
    options: SystemdOptions

    def translate(self, declaration: Declaration) -> Item:
        """Every line of both units, by unit, section and name; what may stand several times is a list."""
        definition = declaration.definition
        _refuse_late_calls(self.name, definition)
        key = f"taskyard-{self.owner}-{slug(declaration.name, _LONGEST_NAME)}"
        timer: dict[str, Any] = {"OnCalendar": self._calendar(definition), **_rules(definition)}
        service = {"Type": "oneshot", "ExecStart": self._command(declaration.name)}
        if folder := self.options.directory or project_folder():
            service["WorkingDirectory"] = _escaped(folder)
        if self.options.user:
            service["User"] = self.options.user
        service |= self.options.service
        words = {"Description": _escaped(" ".join((definition.description or declaration.name).split()))}
        sections = {
            "timer": {"Unit": words, "Timer": timer, "Install": {"WantedBy": "timers.target"}},
            "service": {"Unit": words, "Service": service},
        }
        return Item(declaration.name, key, dict(_flat(sections)))

    def _calendar(self, definition: Definition) -> list[str]:
        lines = on_calendar(self.name, definition.recurrence)
        cron = definition.recurrence
        if isinstance(cron, Cron):
            # As systemd 252 was seen to do, for fixed times and intervals alike.
            said = Cron(cron.expression, timezone=cron.timezone, gap="skip", fold="first")
            refuse_differences(self.name, cron, said=said, since=self.since)
        return lines

    def _command(self, name: str) -> str:
        words = [*self.options.command, *call(name)]
        if any(word.startswith("-") for word in words[:1]) or not words[0].startswith("/"):
            raise CannotSay(self.name, f"command must begin with a whole path, and {words[0]!r} is none")
        return " ".join(_quoted(word) for word in words)

    def read(self) -> Found:
        """The units of the folder; one of our name without our mark is somebody else's."""
        owned: dict[str, Standing] = {}
        foreign: set[str] = set()
        for path in files_in(self.options.path, "taskyard-*.timer") + files_in(self.options.path, "taskyard-*.service"):
            mark = _mark_of(read_text(path))
            if mark is None or mark["owner"] != self.owner:
                foreign.add(path.stem)
            elif path.stem not in owned:
                owned[path.stem] = self._standing(path.stem, mark)
        return Found({key: one for key, one in owned.items() if key not in foreign}, frozenset(foreign))

    def _standing(self, key: str, mark: Mapping[str, str]) -> Standing:
        units = {kind: _sections(read_text(self._path(key, kind))) for kind in ("timer", "service")}
        return Standing(Item(mark["name"], key, dict(_flat(units))), mark["seal"])

    def _path(self, key: str, kind: str) -> Path:
        return Path(self.options.path) / f"{key}.{kind}"

    def apply(self, changes: Sequence[Change]) -> None:
        """Write and remove files, the service before its timer; a run that was stopped is completed by the next."""
        for change in changes:
            for kind in ("service", "timer"):
                path = self._path(change.key, kind)
                if change.item is None:
                    remove(path)
                else:
                    replace_text(path, before=read_text(path), after=_unit(change.item, kind, self.owner))

    def shown(self, item: Item) -> str:
        """Both units, each under its path."""
        units = ((self._path(item.key, kind), _unit(item, kind, self.owner)) for kind in ("service", "timer"))
        return "\n".join(f"# {path}\n{text}" for path, text in units)

    def hint(self) -> str:
        """How the manager follows."""
        return "Now: systemctl daemon-reload, enable --now the timers that are new, and stop those that are gone."


def _refuse_late_calls(target: str, definition: Definition) -> None:
    """What a window delays is late when it is decided."""
    is_kept = definition.catch_up != CatchUp.NONE
    allowed = definition.catch_up_window if is_kept else ON_TIME
    if allowed is not None and definition.bounds.window > max(allowed, ON_TIME):
        reason = f"its calls come up to {definition.bounds.window} late, and by its catch-up rule it is missed by then"
        raise CannotSay(target, reason)


def _rules(definition: Definition) -> dict[str, Any]:
    rules = {"AccuracySec": "1s", "Persistent": "false" if definition.catch_up == CatchUp.NONE else "true"}
    if window := definition.bounds.window:
        rules |= {"RandomizedDelaySec": f"{int(window.total_seconds())}s", "FixedRandomDelay": "true"}
    return rules


def _flat(units: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[tuple[str, Any]]:
    for kind, sections in units.items():
        for section, lines in sections.items():
            for name, value in lines.items():
                values = value if isinstance(value, list) else [value]
                yield f"{kind}.{section}.{name}", [str(one) for one in values]


def _unit(item: Item, kind: str, owner: str) -> str:
    mark = _MARK + json.dumps({"owner": owner, "name": item.name, "seal": item.seal})
    lines, last = [mark], ""
    for path, values in item.fields.items():
        of, section, name = path.split(".", 2)
        if of != kind:
            continue
        if section != last:
            lines += ["", f"[{section}]"]
            last = section
        lines += [f"{name}={value}" for value in values]
    return "\n".join(lines) + "\n"


def _sections(text: str) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(.+)\]\s*", line):
            section = heading[1]
        elif "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            found.setdefault(section, {}).setdefault(name.strip(), []).append(value.strip())
    return found


def _mark_of(text: str) -> dict[str, str] | None:
    line = text.partition("\n")[0]
    if not line.startswith(_MARK):
        return None
    try:
        mark = json.loads(line.removeprefix(_MARK))
    except ValueError:
        return None
    return mark if isinstance(mark, dict) and {"owner", "name", "seal"} <= mark.keys() else None


def _quoted(word: str) -> str:
    """One word of a command line as systemd reads it: in quotes, and without its variables and specifiers."""
    plain = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w@%+=:,./$-]+", plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    """As the value of a line: without specifiers, and without the backslash that goes on in the next line."""
    return text.replace("%", "%%").rstrip("\\")
