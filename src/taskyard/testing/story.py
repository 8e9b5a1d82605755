"""The lines of a history, put in order by job and by process."""

from __future__ import annotations

import bisect
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from taskyard.testing.history import Line

#: A process of one of the hosts.
Place = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One attempt, as the task itself wrote it down."""

    job: str
    attempt: int
    token: int
    host: str
    pid: int
    started: float
    #: When it ended, or at the latest: its process was killed then, or had begun another job. None: nobody knows.
    ended: float | None = None
    #: ``returned``, the class of what it raised, or empty where it never came to its end.
    how: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """What is to follow from some jobs, once."""

    key: str
    after: tuple[str, ...]
    state: str
    value: Any


@dataclasses.dataclass(slots=True)
class Story:
    """Everything a history says."""

    runs: dict[str, list[Run]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    #: Runs of jobs whose unique key is held to their end, by task and key.
    unique: dict[str, list[Run]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    #: Numbers of attempts that handed over to other jobs instead of ending.
    handed_over: dict[str, set[int]] = dataclasses.field(default_factory=lambda: defaultdict(set))
    committed: set[str] = dataclasses.field(default_factory=set)
    intended: set[str] = dataclasses.field(default_factory=set)
    rolled_back: set[str] = dataclasses.field(default_factory=set)
    #: Ranges of ids of which nobody knows whether they were written.
    uncertain: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    may_end: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    expected: list[Expected] = dataclasses.field(default_factory=list)
    #: Key -> job that wrote it -> value.
    effects: dict[str, dict[str, Any]] = dataclasses.field(default_factory=lambda: defaultdict(dict))
    cancelled: dict[str, float] = dataclasses.field(default_factory=dict)
    brought_back: dict[str, list[float]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    #: From when to when a process stood still.
    frozen: dict[Place, list[tuple[float, float]]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    crashes: list[float] = dataclasses.field(default_factory=list)


def tell(lines: Iterable[Line]) -> Story:
    """Read lines, in any order of files; those of one process in the order in which it wrote them."""
    return _Reader().read(lines)


class _Reader:
    def __init__(self) -> None:
        self.story = Story()
        self.starts: list[Line] = []
        self.ends: dict[tuple[str, int, float], Line] = {}
        self.open: dict[tuple[Place, str, int], float] = {}
        self.killed: dict[Place, list[float]] = defaultdict(list)
        self.begun: dict[Place, list[float]] = defaultdict(list)
        self.frozen_since: dict[Place, float] = {}

    def read(self, lines: Iterable[Line]) -> Story:
        known: dict[str, Callable[[Line], None]] = {
            "start": self._start, "end": self._end, "effect": self._effect, "may end": self._may_end,
            "expects": self._expects, "cancelled": self._cancelled, "brought back": self._brought_back,
            "handed over": self._handed_over, "killed": self._killed, "froze": self._froze, "thawed": self._thawed,
            "intended": lambda line: self.story.intended.update(line.more["jobs"]),
            "committed": lambda line: self.story.committed.update(line.more["jobs"]),
            "rolled back": lambda line: self.story.rolled_back.update(line.more["jobs"]),
            "uncertain": lambda line: self.story.uncertain.append((line.more["since"], line.more["until"])),
            "database crashed": lambda line: self.story.crashes.append(line.at),
        }  # fmt: skip
        for line in lines:
            if line.what in known:
                known[line.what](line)
        self._finish()
        return self.story

    def _start(self, line: Line) -> None:
        self.starts.append(line)
        self.begun[line.host, line.pid].append(line.at)
        self.open[(line.host, line.pid), line.job, line.token] = line.at

    def _end(self, line: Line) -> None:
        started = self.open.pop(((line.host, line.pid), line.job, line.token), None)
        if started is not None:
            self.ends[line.job, line.token, started] = line

    def _effect(self, line: Line) -> None:
        self.story.effects[line.more["key"]][line.job] = line.more["value"]

    def _may_end(self, line: Line) -> None:
        self.story.may_end[line.job] = tuple(line.more["states"])

    def _expects(self, line: Line) -> None:
        more = line.more
        self.story.expected.append(Expected(more["key"], tuple(more["after"]), more["state"], more["value"]))

    def _cancelled(self, line: Line) -> None:
        self.story.cancelled[line.job] = line.at

    def _brought_back(self, line: Line) -> None:
        self.story.brought_back[line.job].append(line.at)

    def _handed_over(self, line: Line) -> None:
        self.story.handed_over[line.job].add(line.attempt)

    def _killed(self, line: Line) -> None:
        for pid in line.more["pids"]:
            self.killed[line.host, pid].append(line.at)

    def _froze(self, line: Line) -> None:
        for pid in line.more["pids"]:
            self.frozen_since.setdefault((line.host, pid), line.at)

    def _thawed(self, line: Line) -> None:
        for pid in line.more["pids"]:
            since = self.frozen_since.pop((line.host, pid), None)
            if since is not None:
                self.story.frozen[line.host, pid].append((since, line.at))

    def _finish(self) -> None:
        for place, since in self.frozen_since.items():
            self.story.frozen[place].append((since, float("inf")))
        for moments in self.begun.values():
            moments.sort()
        for line in self.starts:
            run = self._run(line)
            self.story.runs[run.job].append(run)
            if line.more.get("unique"):
                self.story.unique[f"{line.more['task']} {line.more['unique']}"].append(run)

    def _run(self, line: Line) -> Run:
        end = self.ends.get((line.job, line.token, line.at))
        return Run(
            line.job, line.attempt, line.token, line.host, line.pid, line.at,
            ended=end.at if end else self._latest_end(line), how=end.more["how"] if end else "",
        )  # fmt: skip

    def _latest_end(self, line: Line) -> float | None:
        place = (line.host, line.pid)
        moments = [at for at in self.killed[place] if at >= line.at]
        begun = self.begun[place]
        following = bisect.bisect_right(begun, line.at)
        moments += begun[following : following + 1]
        return min(moments, default=None)
