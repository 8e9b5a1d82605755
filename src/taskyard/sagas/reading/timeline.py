"""When each step of a saga ran, waited and was undone: bars, from which pages and commands draw."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from taskyard.sagas.states import IN_HAND, StepState


class BarKind(StrEnum):
    """What went on in that time."""

    #: A worker was in its function, and that was the end of it, well or not.
    FORWARD = "forward"
    #: It waited: for a signal, a time, a saga within, or its next attempt.
    WAITING = "waiting"
    #: A worker was in its rollback, or the saga within was being undone.
    COMPENSATION = "compensation"
    #: An attempt, of the function or of the rollback, that failed or was lost: another one followed.
    LOST_ATTEMPT = "lost_attempt"


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of time of one step."""

    kind: BarKind
    start: dt.datetime
    #: None: it goes on.
    end: dt.datetime | None
    #: How it ended: ``succeeded``, ``failed``, ``retrying``, ``lost``, ``skipped``, ``compensated`` and so on.
    ended: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Lane:
    """A step with its bars in the order of time; a step that has not begun has none."""

    step: str
    state: str
    group: str
    bars: tuple[Bar, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Timeline:
    """All steps in the order of the plan, on one scale of time."""

    start: dt.datetime
    #: Of one that has ended its end, else now.
    end: dt.datetime
    lanes: tuple[Lane, ...]
    #: Edges of time and where each lies, from 0 to 1: what :meth:`place` goes by.
    scale: tuple[tuple[dt.datetime, float], ...]
    #: Long waits take less room than their time: the scale is not even.
    is_squeezed: bool

    def place(self, moment: dt.datetime | None) -> float:
        """Where a moment lies, from 0 to 1; None is the end."""
        if moment is None or moment >= self.end:
            return 1.0
        before = self.scale[0]
        for edge in self.scale[1:]:
            if moment < edge[0]:
                share = (moment - before[0]) / (edge[0] - before[0])
                return max(0.0, before[1] + share * (edge[1] - before[1]))
            before = edge
        return 1.0


class Told(Protocol):
    """A line of the history."""

    @property
    def at(self) -> dt.datetime: ...
    @property
    def what(self) -> str: ...
    @property
    def step(self) -> str: ...


class Placed(Protocol):
    """A step of the plan, as it stands."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def group(self) -> str: ...


#: What ends an attempt after which there is another.
_ANOTHER = frozenset({"retrying", "lost"})
_ENDS = frozenset({"succeeded", "failed", "skipped", "compensated", "compensation_failed", "asked_to_skip"})
#: A step in one of these has a bar that goes on.
_GOES_ON = IN_HAND | {StepState.WAITING, StepState.RETRYING, StepState.COMPENSATION_RETRYING}


def timeline_of(steps: Sequence[Placed], history: Iterable[Told], *, start: dt.datetime, end: dt.datetime) -> Timeline:
    """The timeline of a saga with these steps, in the order of its plan, and this history, in the order of time."""
    drawing = _Drawing()
    for line in history:
        drawing.take(line)
    lanes = tuple(
        Lane(step.name, step.state, step.group, drawing.bars_of(step.name, goes_on=step.state in _GOES_ON))
        for step in steps
    )
    scale, is_squeezed = _scale(lanes, start, end)
    return Timeline(start, end, lanes, scale, is_squeezed)


class _Drawing:
    def __init__(self) -> None:
        self._bars: dict[str, list[Bar]] = {}
        self._last: dt.datetime | None = None

    def take(self, line: Told) -> None:
        self._last = line.at
        if not line.step:
            if line.what == "turned_round":
                # Whoever waited does not any more.
                for name in self._bars:
                    self._end(name, line.at, "")
        elif line.what == "started":
            self._begin(line, BarKind.FORWARD)
        elif line.what == "compensating":
            self._begin(line, BarKind.COMPENSATION)
        elif line.what == "waiting":
            self._begin(line, BarKind.WAITING)
        elif line.what in _ANOTHER:
            self._end(line.step, line.at, line.what)
            # Until the next attempt.
            self._begin(line, BarKind.WAITING)
        elif line.what in _ENDS:
            self._end(line.step, line.at, line.what.removeprefix("asked_to_"))

    def _begin(self, line: Told, kind: BarKind) -> None:
        self._end(line.step, line.at, "")
        self._bars.setdefault(line.step, []).append(Bar(kind, line.at, None))

    def _end(self, step: str, at: dt.datetime, ended: str) -> None:
        bars = self._bars.get(step)
        if not bars or bars[-1].end is not None:
            return
        bar = bars[-1]
        was_attempt = bar.kind is not BarKind.WAITING
        kind = BarKind.LOST_ATTEMPT if was_attempt and ended in _ANOTHER else bar.kind
        if kind is BarKind.WAITING and bar.start == at and (ended == "" or len(bars) > 1):
            # The next attempt came at once, or there was none.
            bars.pop()
            return
        bars[-1] = dataclasses.replace(bar, kind=kind, end=at, ended=ended)

    def bars_of(self, step: str, *, goes_on: bool) -> tuple[Bar, ...]:
        if not goes_on and self._last is not None:
            self._end(step, self._last, "")
        return tuple(self._bars.get(step, ()))


def _scale(
    lanes: Sequence[Lane], start: dt.datetime, end: dt.datetime
) -> tuple[tuple[tuple[dt.datetime, float], ...], bool]:
    """Edges of time with their places: where nobody worked, a stretch takes no more than half of all the work."""
    bars = [bar for lane in lanes for bar in lane.bars]
    moments = {start, end} | {moment for bar in bars for moment in (bar.start, bar.end) if moment is not None}
    edges = sorted(moment for moment in moments if start <= moment <= end)
    stretches = list(itertools.pairwise(edges))
    work = [bar for bar in bars if bar.kind is not BarKind.WAITING]
    lengths = {stretch: (stretch[1] - stretch[0]).total_seconds() for stretch in stretches}
    busy = {each for each in stretches if any(_covers(bar, each, end) for bar in work)}
    most = sum(lengths[each] for each in busy) / 2
    room = {each: lengths[each] if each in busy or not most else min(lengths[each], most) for each in stretches}
    return _places(edges, room), room != lengths


def _covers(bar: Bar, stretch: tuple[dt.datetime, dt.datetime], now: dt.datetime) -> bool:
    return bar.start <= stretch[0] and (bar.end or now) >= stretch[1]


def _places(
    edges: Sequence[dt.datetime], room: Mapping[tuple[dt.datetime, dt.datetime], float]
) -> tuple[tuple[dt.datetime, float], ...]:
    whole, reached = sum(room.values()) or 1.0, 0.0
    found = [(edges[0], 0.0)]
    for stretch, length in room.items():
        reached += length
        found.append((stretch[1], min(1.0, reached / whole)))
    return tuple(found)
