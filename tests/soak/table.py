"""What a run prints at its end: the table, a row for docs/reliability.md, and everything about jobs that went wrong."""

from pathlib import Path
from typing import Any

from taskyard.testing.checker import PROBLEMS
from taskyard.testing.history import read
from tests.soak.run import Result

_SHOWN = 5

HEADER = (
    "| broker | database | seconds | seed | jobs | attempts | faults | lost | phantom | overlaps | fenced overlaps |"
    " other | longest recovery |"
)


def describe(result: Result) -> list[str]:
    """The table, line by line."""
    report = result.report
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(result.faults.items()))
    about = {
        "broker, database": f"{result.options.broker}, {result.options.database}",
        "seed": result.options.seed,
        "seconds": f"{result.seconds:.0f}",
        "jobs": f"{report.jobs:,}",
        "attempts seen": f"{report.attempts:,}",
        "faults": f"{result.faults.total()}: {faults}",
        "also judged": f"{report.follow_ups:,} follow-ups, {report.cancels:,} early cancels, {report.keys} unique keys",
        "fenced overlaps": len(report.fenced_overlaps),
        "poisoned jobs": len(report.poisoned),
        "longest recovery": f"{result.longest_recovery:.1f} s, after {result.slowest}",
        "longest shutdown": f"{result.longest_stop:.1f} s",
        **{name.replace("_", " "): len(getattr(report, name)) for name in PROBLEMS},
    }
    return [f"  {name:<22} {value}" for name, value in about.items()]


def markdown(result: Result) -> str:
    """One row, below :data:`HEADER`."""
    report = result.report
    other = sum(len(getattr(report, name)) for name in PROBLEMS if name not in ("lost", "phantom", "overlaps"))
    cells = [
        result.options.broker, result.options.database, f"{result.options.seconds:.0f}", result.options.seed,
        f"{report.jobs:,}", f"{report.attempts:,}", result.faults.total(), len(report.lost), len(report.phantom),
        len(report.overlaps), len(report.fenced_overlaps), other + len(result.troubles),
        f"{result.longest_recovery:.1f} s, {result.slowest}",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def dump(result: Result, history: Path) -> list[str]:
    """The first few jobs of each problem: the row, its attempts, and what the history says of them."""
    from taskyard.models import Attempt, Job

    report = result.report
    wanted = {job: name for name, jobs in report.problems().items() for job in jobs[:_SHOWN]}
    told = _told(history, set(wanted))
    lines = []
    for job, name in wanted.items():
        lines.append(f"{name}: {job}")
        lines += [f"    row      {row}" for row in Job.objects.filter(id=job).values()]
        columns = ("number", "error_type", "error_message", "worker", "started_at", "ended_at")
        lines += [f"    attempt  {row}" for row in Attempt.objects.filter(job_id=job).values(*columns)]
        lines += [f"    history  {line}" for line in told.get(job, ())]
    return lines


def _told(history: Path, wanted: set[str]) -> dict[str, list[Any]]:
    told: dict[str, list[Any]] = {}
    for line in read(history):
        for job in {line.job, *line.more.get("jobs", ()), *line.more.get("after", ())} & wanted:
            told.setdefault(job, []).append((line.what, line.at, line.pid, line.attempt, line.token, line.more))
    return told
