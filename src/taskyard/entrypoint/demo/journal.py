"""What the tasks themselves wrote down, and what it proves: pure rules."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """One line: an attempt began (``start``), returned (``end``) or raised (``error``)."""

    job: str
    attempt: int
    what: str
    #: Process group of the worker it ran in.
    group: int
    #: Monotonic clock, which all processes of a host share.
    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """One run of the function."""

    attempt: int
    began: float
    ended: float


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """What the journal says."""

    #: Jobs whose function ran in two places at once, or twice for one attempt.
    overlapping: frozenset[str]
    #: Jobs whose function returned.
    returned: frozenset[str]
    #: Runs that a kill ended.
    cut_short: int


def read(file: Path) -> list[Note]:
    """The notes so far; a line cut by a kill is left out."""
    notes = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            notes.append(Note(**json.loads(line)))
        except ValueError:
            continue
    return notes


def is_open(notes: Iterable[Note], group: int) -> bool:
    """Whether a run of that worker has begun and not ended."""
    balance = 0
    for note in notes:
        if note.group == group:
            balance += 1 if note.what == "start" else -1
    return balance > 0


def judge(notes: Iterable[Note], killed_at: Mapping[int, float]) -> Evidence:
    """Look at each job's runs. ``killed_at``: when which worker's process group was surely dead."""
    by_job: dict[str, list[Note]] = {}
    for note in notes:
        by_job.setdefault(note.job, []).append(note)
    spans = {job: sorted(_spans(own, killed_at), key=lambda span: span.began) for job, own in by_job.items()}
    return Evidence(
        overlapping=frozenset(job for job, own in spans.items() if _overlap(own)),
        returned=frozenset(job for job, own in by_job.items() if any(note.what == "end" for note in own)),
        cut_short=sum(note.what == "start" for own in by_job.values() for note in own)
        - sum(note.what != "start" for own in by_job.values() for note in own),
    )


def _spans(notes: Iterable[Note], killed_at: Mapping[int, float]) -> Iterator[Span]:
    pending: dict[tuple[int, int], list[Note]] = {}
    for note in notes:
        key = (note.attempt, note.group)
        if note.what == "start":
            pending.setdefault(key, []).append(note)
        elif pending.get(key):
            yield Span(note.attempt, pending[key].pop(0).at, note.at)
    for (attempt, group), begun in pending.items():
        for note in begun:
            # Neither returned nor killed: it may be running still.
            yield Span(attempt, note.at, killed_at.get(group, float("inf")))


def _overlap(spans: list[Span]) -> bool:
    if len({span.attempt for span in spans}) < len(spans):
        return True
    return any(later.began < earlier.ended for earlier, later in itertools.pairwise(spans))
