"""Compares the table with what a history says really happened: nothing lost, nothing twice, nothing that never was.

The checker trusts the history and knows none of Taskyard's code: it would find a fault of claim, settle or rescuer that
the table itself hides. Its limits: an attempt whose process vanished without anybody having written down the kill is
taken to have ended before the next one started; and it judges jobs that are still in the table, so nothing may be
pruned meanwhile.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from taskyard.jobs.states import FINAL
from taskyard.testing.story import Run, Story, tell

#: An unsynced commit of PostgreSQL is on disk after three times ``wal_writer_delay`` (200 ms) at the latest.
_UNSYNCED_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What the table says about one job."""

    id: str
    task: str
    state: str
    attempt: int
    #: Claim token of the last attempt.
    token: int | None = None
    reason: str = ""
    parent: str = ""
    root: str = ""
    #: Numbers of the attempts that the table has a record of: those that did not succeed.
    recorded: tuple[int, ...] = ()


@dataclasses.dataclass(slots=True)
class Report:
    """What does not agree; every list holds job ids."""

    jobs: int = 0
    attempts: int = 0
    #: How much there was to judge beside the jobs: what was to follow, cancels before a start, unique keys.
    follow_ups: int = 0
    cancels: int = 0
    keys: int = 0
    #: Committed, and not in the table.
    lost: list[str] = dataclasses.field(default_factory=list)
    #: Not in a final state.
    unfinished: list[str] = dataclasses.field(default_factory=list)
    #: Rolled back or never written by anybody known, and yet in the table or run.
    phantom: list[str] = dataclasses.field(default_factory=list)
    #: Two attempts ran at the same time.
    overlaps: list[str] = dataclasses.field(default_factory=list)
    #: The same, while the earlier one's process was frozen or cut off, or after a crash of the database forgot its
    #: claim: it cannot be excluded, and what it wrote was refused. Not an error.
    fenced_overlaps: list[str] = dataclasses.field(default_factory=list)
    #: Succeeded without an attempt that returned; or in a final state that it may not end in.
    wrong_state: list[str] = dataclasses.field(default_factory=list)
    #: The attempts that ran, the number in the row and the recorded attempts do not agree.
    wrong_count: list[str] = dataclasses.field(default_factory=list)
    #: Ran between the first start and the last end of another job with the same unique key.
    unique_broken: list[str] = dataclasses.field(default_factory=list)
    #: Started, or did not stay cancelled, after a cancel that came before its start.
    started_after_cancel: list[str] = dataclasses.field(default_factory=list)
    #: What follows from it (link, chain step, chord body, errback) did not happen exactly once.
    wrong_follow_up: list[str] = dataclasses.field(default_factory=list)
    #: Given up because its process died too often in a row. Not an error of Taskyard's.
    poisoned: list[str] = dataclasses.field(default_factory=list)

    def problems(self) -> dict[str, list[str]]:
        """The lists that hold something and should not."""
        return {name: getattr(self, name) for name in PROBLEMS if getattr(self, name)}

    @property
    def is_clean(self) -> bool:
        """Whether the table and the history agree with every promise."""
        return not self.problems()


#: The fields of a report that are empty when all is well.
PROBLEMS = (
    "lost", "unfinished", "phantom", "overlaps", "wrong_state", "wrong_count", "unique_broken", "started_after_cancel",
    "wrong_follow_up",
)  # fmt: skip


def check(lines: Iterable[Any], rows: Iterable[Row], *, unrecorded: Iterable[str] = ()) -> Report:
    """Compare; call it when everything has come to rest.

    ``unrecorded`` names tasks that write no history; of their jobs only the table is judged.
    """
    story = tell(lines)
    table = {row.id: row for row in rows}
    report = Report(
        jobs=len(table), attempts=sum(len(runs) for runs in story.runs.values()), follow_ups=len(story.expected),
        cancels=len(story.cancelled), keys=len(story.unique),
    )  # fmt: skip
    silent = frozenset(unrecorded)
    report.lost = [job for job in story.committed if job not in table]
    report.phantom = sorted(_phantoms(story, table))
    for row in table.values():
        _judge(report, story, row, is_recorded=row.task not in silent)
    report.unique_broken, excused = _broken_keys(story)
    report.fenced_overlaps += excused
    report.wrong_follow_up = list(dict.fromkeys(_wrong_follow_ups(story, table)))
    return report


def _phantoms(story: Story, table: Mapping[str, Row]) -> set[str]:
    rolled_back = {job for job in story.rolled_back if job in table or job in story.runs}
    unheard_of = {job for job in story.runs if job not in table and job not in story.committed}
    known = story.committed | story.intended
    strange = {row.id for row in table.values() if not {row.id, row.parent, row.root} & known}
    return rolled_back | unheard_of | {job for job in strange if not _is_uncertain(story, job)}


def _is_uncertain(story: Story, job: str) -> bool:
    return any(since < job < until for since, until in story.uncertain)


def _judge(report: Report, story: Story, row: Row, *, is_recorded: bool) -> None:
    runs = story.runs.get(row.id, [])
    if row.state not in FINAL:
        report.unfinished.append(row.id)
        return
    if row.reason == "poison":
        report.poisoned.append(row.id)
    elif row.state not in story.may_end.get(row.id, (row.state,)):
        report.wrong_state.append(row.id)
    if is_recorded and row.state == "succeeded" and not _returned(runs, row.token):
        report.wrong_state.append(row.id)
    if not _counts_agree(story, row, runs):
        report.wrong_count.append(row.id)
    if _heeded_no_cancel(story, row, runs):
        report.started_after_cancel.append(row.id)
    together = list(_together(runs))
    if together:
        is_fenced = all(_is_excused(story, earlier, later) for earlier, later in together)
        (report.fenced_overlaps if is_fenced else report.overlaps).append(row.id)


def _returned(runs: list[Run], token: int | None) -> bool:
    return any(run.token == token and run.how == "returned" for run in runs)


def _counts_agree(story: Story, row: Row, runs: list[Run]) -> bool:
    ended_badly = [n for n in range(1, row.attempt + 1) if n < row.attempt or row.state != "succeeded"]
    if list(row.recorded) != [n for n in ended_badly if n not in story.handed_over.get(row.id, ())]:
        return False
    # A claim that the database forgot is made again, under the same number and another token.
    remembered = [run for run in runs if not _may_be_forgotten(story, run)]
    numbers = [run.attempt for run in remembered]
    return len(numbers) == len(set(numbers)) and all(number <= row.attempt for number in numbers)


def _heeded_no_cancel(story: Story, row: Row, runs: list[Run]) -> bool:
    at = story.cancelled.get(row.id)
    if at is None:
        return False
    back = [moment for moment in story.brought_back.get(row.id, ()) if moment > at]
    if not back and row.state != "cancelled":
        return True
    return any(at < run.started < min(back, default=float("inf")) for run in runs)


def _together(runs: list[Run]) -> Iterator[tuple[Run, Run]]:
    """Pairs of runs that were there at the same time, the earlier first."""
    longest: Run | None = None
    for run in sorted(runs, key=lambda run: run.started):
        if longest is not None and longest.ended is not None and longest.ended > run.started:
            yield longest, run
        if longest is None or (run.ended or run.started) > (longest.ended or longest.started):
            longest = run


def _is_excused(story: Story, earlier: Run, later: Run) -> bool:
    """Whether the earlier one stood still, was cut off, or had its claim forgotten, before the later one started."""
    for since, until in story.frozen.get((earlier.host, earlier.pid), ()):
        if since < later.started and until > earlier.started:
            return True
    return _may_be_forgotten(story, earlier)


def _may_be_forgotten(story: Story, run: Run) -> bool:
    return any(abs(run.started - crash) <= _UNSYNCED_SECONDS for crash in story.crashes)


def _broken_keys(story: Story) -> tuple[list[str], list[str]]:
    """Jobs that ran within the life of another one with the same key, and those of them that are excused."""
    broken: list[str] = []
    excused: list[str] = []
    for runs in story.unique.values():
        for earlier, later in _lives_together(story, runs):
            (excused if _is_excused(story, earlier, later) else broken).append(later.job)
    return list(dict.fromkeys(broken)), list(dict.fromkeys(excused))


def _lives_together(story: Story, runs: list[Run]) -> Iterator[tuple[Run, Run]]:
    # A job that an operator brought back has several lives, so only its single runs are compared.
    jobs: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        back = sum(moment < run.started for moment in story.brought_back.get(run.job, ()))
        jobs[f"{run.job} {back}"].append(run)
    lives = sorted((_life(of_one) for of_one in jobs.values()), key=lambda life: life.started)
    for pair in _together(lives):
        if pair[0].job != pair[1].job:
            yield pair


def _life(runs: list[Run]) -> Run:
    # The run that ends last is the one to be excused or not; the life begins with the first.
    last = max(runs, key=lambda run: run.ended or run.started)
    return dataclasses.replace(last, started=min(run.started for run in runs))


def _wrong_follow_ups(story: Story, table: Mapping[str, Row]) -> Iterator[str]:
    for expected in story.expected:
        before = [table[job].state for job in expected.after if job in table]
        is_due = len(before) == len(expected.after) and all(state == expected.state for state in before)
        found = story.effects.get(expected.key, {})
        has_value = not is_due or expected.value is None or expected.value in found.values()
        if len(found) != int(is_due) or not has_value:
            yield expected.after[-1]
