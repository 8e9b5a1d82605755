"""A saga's timeline in letters: a line for each step, on one scale."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator

from taskyard.entrypoint.screen import Screen, cut, duration
from taskyard.sagas.reading.timeline import Bar, BarKind, Lane, Timeline

_WIDTH, _NAME, _STATE = 80, 16, 21
#: How each kind is drawn, its colour, and what it is called.
_LETTERS = {
    BarKind.FORWARD: ("█", "green", "ran"),
    BarKind.WAITING: ("·", "grey", "waited"),
    BarKind.COMPENSATION: ("▒", "yellow", "was undone"),
    BarKind.LOST_ATTEMPT: ("×", "red", "failed or was lost, and was tried again"),
}
_COLOURS = {letter: colour for letter, colour, _ in _LETTERS.values()}
#: At the end of a bar that goes on.
_ON = "›"


def draw(screen: Screen, timeline: Timeline) -> Iterator[str]:
    """Its lines, at most 80 columns wide; with what the letters mean, as far as they are there."""
    name = min(_NAME, max([4, *(len(lane.step) for lane in timeline.lanes)]))
    room = min(screen.width, _WIDTH) - name - _STATE - 6
    length = duration(timeline.end - timeline.start)
    yield f"  {'':{name}}  {screen.paint('0' + length.rjust(room - 1), 'grey')}"
    for lane in timeline.lanes:
        cells = "".join(screen.paint(run, _COLOURS.get(run[0], "")) for run in _runs(_cells(timeline, lane, room)))
        yield f"  {cut(lane.step, name):{name}}  {cells}  {lane.state}"
    kinds = {bar.kind for lane in timeline.lanes for bar in lane.bars}
    said = [f"{letter} {says}" for kind, (letter, _, says) in _LETTERS.items() if kind in kinds]
    if timeline.is_squeezed:
        said.append("long waits are drawn short")
    for line in textwrap.wrap("; ".join(said), _WIDTH - 2):
        yield f"  {screen.paint(line, 'grey')}"


def _cells(timeline: Timeline, lane: Lane, room: int) -> str:
    cells = [" "] * room
    # What is short must not be hidden by the waiting beside it.
    for bar in sorted(lane.bars, key=lambda bar: bar.kind is not BarKind.WAITING):
        first, last = _edges(timeline, bar, room)
        cells[first:last] = _LETTERS[bar.kind][0] * (last - first)
        if bar.end is None:
            cells[last - 1] = _ON
    return "".join(cells)


def _edges(timeline: Timeline, bar: Bar, room: int) -> tuple[int, int]:
    first = min(math.floor(timeline.place(bar.start) * room), room - 1)
    return first, max(first + 1, min(room, math.ceil(timeline.place(bar.end) * room)))


def _runs(cells: str) -> Iterator[str]:
    for _, letters in itertools.groupby(cells):
        yield "".join(letters)
