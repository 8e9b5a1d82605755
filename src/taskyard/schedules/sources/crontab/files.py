"""Which crontab files there are, and what stands in them; read anew when a file or the list of plugins changes."""

from __future__ import annotations

import dataclasses
import errno
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings

from taskyard.errors import ConfigurationError, InvalidSchedule
from taskyard.schedules.definitions.definition import Definition, checked
from taskyard.schedules.sources.crontab.parsing import Line, Problem, numbered, parse
from taskyard.settings import Settings, get_settings

#: The task that runs a line.
TASK = "taskyard.run_command"
#: In a path of ``TASKYARD["CRONTABS"]`` it stands for the name of each active plugin.
PLUGIN = "{plugin}"
#: Larger ones are no crontab files.
_LARGEST_BYTES = 1024 * 1024
#: It becomes a part of paths, and of names of schedules.
_PLUGIN_NAME = re.compile(r"\w[\w.-]{0,62}", re.ASCII)
_LONGEST_LABEL = 63


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One file that may be there."""

    path: Path
    #: The plugin it belongs to; empty: the project's own.
    plugin: str = ""

    @property
    def label(self) -> str:
        """What names of its lines begin with."""
        return self.plugin or re.sub(r"[^\w.-]+", "-", self.path.name, flags=re.ASCII)[:_LONGEST_LABEL]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A line that runs."""

    #: Of the schedule, of its log file, and what its jobs know it by.
    name: str
    source: Source
    line: Line
    definition: Definition


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What the files say."""

    entries: Mapping[str, Entry]
    problems: tuple[Problem, ...]
    #: Active plugins.
    plugins: frozenset[str]
    #: Files that were there.
    files: tuple[str, ...]

    @property
    def wanted(self) -> dict[str, Definition]:
        """The schedules, by name."""
        return {name: entry.definition for name, entry in self.entries.items()}


#: Each source, and what its file looked like: times, size and inode; None: there was none.
Stamp = tuple[tuple[Source, tuple[int, ...] | None], ...]


def project_folder() -> Path:
    """Where commands run and relative paths begin: ``BASE_DIR`` of the settings, else the working directory."""
    return Path(getattr(django_settings, "BASE_DIR", None) or Path.cwd())


def active_plugins() -> tuple[str, ...]:
    """The project's own list, asked for now; raises :class:`~taskyard.errors.ConfigurationError` if that fails."""
    listed = get_settings().crontab_plugins
    if listed is None:
        return ()
    names = _asked(listed)
    if odd := [name for name in names if not (isinstance(name, str) and _PLUGIN_NAME.fullmatch(name))]:
        raise ConfigurationError([
            f"CRONTAB_PLUGINS gave {odd[0]!r:.100}: the name of a plugin has letters, digits, dots, dashes and"
            " underscores."
        ])  # fmt: skip
    return tuple(dict.fromkeys(names))


def _asked(listed: Callable[..., Any]) -> tuple[Any, ...]:
    try:
        names = listed()
        # A string would be taken for its letters.
        return (names,) if isinstance(names, str) else tuple(names)
    except Exception as error:
        raise ConfigurationError([f"CRONTAB_PLUGINS raised {type(error).__name__}: {error}"]) from error


def sources() -> tuple[Source, ...]:
    """The files of the settings: the project's own, and those of the plugins that are active now."""
    folder, patterns = project_folder(), get_settings().crontabs
    plugins = active_plugins() if any(PLUGIN in pattern for pattern in patterns) else ()
    found = (
        Source(folder / pattern.replace(PLUGIN, name), name)
        for pattern in patterns
        for name in (plugins if PLUGIN in pattern else ("",))
    )
    return tuple(dict.fromkeys(found))


def stamp() -> Stamp:
    """What tells whether anything has changed: the list of plugins and a look at each file, without reading it."""
    return tuple((source, _look(source.path)) for source in sources())


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


class _Known(threading.local):
    """What this thread read last."""

    settings: Settings | None = None
    stamp: Stamp | None = None
    reading: Reading | None = None


_known = _Known()


def current() -> tuple[Stamp, Reading]:
    """What the files say now; they are read only if something has changed since this thread read them."""
    # Looked at before it is read: what changes in between is read again.
    seen, settings = stamp(), get_settings()
    if _known.reading is None or _known.settings is not settings or _known.stamp != seen:
        _known.reading = read([source for source, _ in seen])
        _known.stamp, _known.settings = seen, settings
    return seen, _known.reading


def read(files: Sequence[Source]) -> Reading:
    """Read these files. One that is not there is a problem, but for a plugin: it need not have one."""
    problems: list[Problem] = []
    there: list[str] = []
    found: list[tuple[Source, Line]] = []
    for source in files:
        try:
            text = _text(source.path)
        except OSError as error:
            if not (source.plugin and isinstance(error, FileNotFoundError)):
                problems.append(Problem(str(source.path), 1, 1, f"the file cannot be read: {error.strerror}"))
            continue
        lines, broken = parse(text, file=str(source.path), timezone=django_settings.TIME_ZONE or "UTC")
        there.append(str(source.path))
        problems += broken
        found += [(source, line) for line in lines]
    entries = dict(_entries(found, problems))
    problems.sort(key=lambda problem: (problem.file, problem.line))
    return Reading(entries, tuple(problems), frozenset(source.plugin for source in files) - {""}, tuple(there))


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_LARGEST_BYTES:,} bytes")
    return data.decode(errors="replace")


def _entries(found: Sequence[tuple[Source, Line]], problems: list[Problem]) -> Iterator[tuple[str, Entry]]:
    """Lines by their names; those that can be no schedule are added to the problems."""
    names = numbered([f"{source.label}/{line.name}" for source, line in found])
    for name, (source, line) in zip(names, found, strict=True):
        try:
            yield name, Entry(name, source, line, _definition(name, source, line))
        except InvalidSchedule as error:
            said = " ".join(error.problems)
            problems.append(Problem(str(source.path), line.number, line.column, said))


def _definition(name: str, source: Source, line: Line) -> Definition:
    options, settings = line.options, get_settings()
    if options.for_each_tenant and not settings.tenancy:
        raise InvalidSchedule(name, ["--for-each-tenant: this project has no tenants, TENANCY is not set."])
    return checked(name, {
        "task": TASK, "recurrence": line.recurrence, "queue": settings.crontab_queue,
        # Which line, not what it runs: a worker runs what stands in its own files, whoever wrote the job.
        "kwargs": {"line": name, "plugin": source.plugin},
        "tenants": "each" if options.for_each_tenant else None, "spread": options.spread,
        "overlap": options.overlap, "catch_up": options.catch_up, "description": line.text,
    })  # fmt: skip
