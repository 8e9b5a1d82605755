"""Kills the process that serves a saga at a place that a test has named for that saga, once.

A place is a fault point, or a word of a step's own, with what was going on there: ``saga.told Returned ship #1`` is the
first time that a transition of that kind has committed. Every place that a saga comes past is written down, so that a
first run without a kill tells a test which there are.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from taskyard.runtime import faults

#: A folder: what is in hand here, and what is named by tests.
FOLDER = "TASKYARD_TEST_SERVICE"
#: The place where whatever saga this process serves is to die.
HERE = "TASKYARD_TEST_DIE"

#: Of frames above a fault point, how many are asked what they have in hand.
DEPTH = 12


def arm() -> None:
    """All fault points of sagas and of the jobs that carry them."""
    for point in faults.POINTS:
        if point.startswith(("saga.", "job.", "body.", "settle.")):
            faults.arm(point, _striking(point))


def order(saga: object, place: str) -> None:
    """Let whoever serves that saga die at that place."""
    (Path(os.environ[FOLDER]) / f"{saga}.die").write_text(place)


def places(saga: object) -> list[str]:
    """All that it has come past."""
    file = Path(os.environ[FOLDER]) / f"{saga}.places"
    return file.read_text().splitlines() if file.exists() else []


def come_past(saga: object, what: str) -> None:
    """Write a place down, and die there if this is the one."""
    folder = Path(os.environ[FOLDER])
    number = sum(line.rpartition(" #")[0] == what for line in places(saga)) + 1
    place = f"{what} #{number}"
    with (folder / f"{saga}.places").open("a") as file:
        file.write(place + "\n")
    ordered = folder / f"{saga}.die"
    wanted = ordered.read_text() if ordered.exists() else os.environ.get(HERE, "")
    if place == wanted:
        (folder / f"{saga}.died").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _striking(point: str) -> Callable[[], None]:
    def strike() -> None:
        found = list(_in_hand(sys._getframe(2)))
        sagas = [saga for saga, _ in found if saga]
        if sagas:
            told = next((text for _, text in found if text), "")
            come_past(sagas[0], f"{point} {told}".rstrip())

    return strike


def _in_hand(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """What frames say of the saga, and of what is going on, the innermost first."""
    for _ in range(DEPTH):
        if frame is None:
            return
        for name, value in frame.f_locals.items():
            yield from _told(name, value)
        frame = frame.f_back


def _told(name: str, value: Any) -> Iterator[tuple[str, str]]:
    kind = type(value).__name__
    if kind == "Turn":
        yield str(value.row.id), ""
    elif name == "saga_id":
        yield str(value), ""
    elif name == "call" and kind == "Call":
        yield "", f"{'-' if value.is_compensation else ''}{value.step}"
    elif name == "event" and type(value).__module__.endswith("sagas.machine.events"):
        yield "", f"{kind} {getattr(value, 'step', '')}".rstrip()
    elif kind in ("Claim", "Attempt"):
        claim = getattr(value, "claim", value)
        if claim.task.startswith("saga."):
            yield json.loads(claim.kwargs)["saga"], claim.task.rpartition("__")[2]
