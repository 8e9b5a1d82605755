"""Following jobs: a line when one comes, is tried again or ends; progress as bars on a terminal, else as lines."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, bar, cut, duration
from taskyard.jobs import queries
from taskyard.jobs.progress.pace import Speed
from taskyard.jobs.progress.reading import JobProgress
from taskyard.jobs.progress.words import says
from taskyard.jobs.queries import JobSummary

_EVERY_SECONDS = 0.5
#: On large tables a look takes longer; then it is taken less often, so that following costs a tenth of a core at most.
_REST_PER_LOOK = 9
#: Rows of one look; what is beyond comes with the next.
_LIMIT = 500
#: Clocks of several hosts and transactions that commit late: moments are looked at once more for this long.
_OVERLAP = dt.timedelta(seconds=3)
#: Bars on a terminal; the jobs that run longest have them.
_MOST_BARS = 10
_BAR_WIDTH = 20
#: Narrower than this, a terminal has room for half of that.
_WIDE = 100


class Tail:
    """What was seen so far, so that nothing is told twice."""

    def __init__(self, screen: Screen, *, as_json: bool = False, tenant: str | None = None) -> None:
        self.screen = screen
        self.as_json = as_json
        #: Who is looking; None: an operator.
        self.tenant = tenant
        self._told: dict[tuple[str, uuid.UUID, Any], dt.datetime] = {}
        self._first = self._since = dt.datetime.now(dt.UTC)
        self._pause = threading.Event()
        self._speeds: dict[uuid.UUID, Speed] = {}
        #: Lines of bars that stand at the end of the screen now.
        self._drawn = 0
        self._has_bars = screen.is_live and not as_json

    def follow(self, *, until_idle: bool) -> int:
        """Write lines until interrupted; with ``until_idle`` until nothing is left to do."""
        while True:
            began = time.monotonic()
            # Asked before the look, so that what ended in between is still told.
            is_over = until_idle and queries.is_idle(tenant=self.tenant)
            self.look(dt.datetime.now(dt.UTC))
            if is_over:
                self._draw([])
                return Exit.OK
            took = time.monotonic() - began
            self._pause.wait(max(_EVERY_SECONDS, took * _REST_PER_LOOK))

    def look(self, now: dt.datetime) -> None:
        """Write what is new."""
        running = queries.running_jobs(limit=_LIMIT, tenant=self.tenant)
        progress = {job.id: self._progress(job, now) for job in running if _reports(job)}
        self._speeds = {job_id: self._speeds[job_id] for job_id in progress}
        news = sorted(self._news(running, now), key=lambda entry: (entry[0], entry[1], str(entry[2].id)))
        if news:
            self._draw([])
        for moment, kind, job in news:
            self._tell(moment, kind, job, progress.get(job.id))
        if self._has_bars:
            self._draw([self._bar(job, progress[job.id]) for job in running if job.id in progress][:_MOST_BARS])
        self._told = {key: at for key, at in self._told.items() if now - at < 20 * _OVERLAP}

    def _progress(self, job: JobSummary, now: dt.datetime) -> JobProgress:
        assert job.progress_current is not None
        speed = self._speeds.setdefault(job.id, Speed())
        return JobProgress(
            job.id, job.state, job.attempt, job.max_attempts, job.progress_current, job.progress_total,
            job.progress_message, started_at=job.started_at, updated_at=job.progress_at,
            speed=speed.look(job.progress_at or now, job.progress_current, of=(job.attempt, job.progress_total)),
            # Later attempts may go on from a checkpoint; how fast they are shows after two looks.
            is_from_zero=job.attempt <= 1,
        )  # fmt: skip

    def _bar(self, job: JobSummary, progress: JobProgress) -> str:
        width = _BAR_WIDTH if self.screen.width >= _WIDE else _BAR_WIDTH // 2
        share = self.screen.paint(bar((progress.percent or 0.0) / 100, width), "cyan")
        colours = len(share) - width
        return cut(f"{share} {job.task} {str(job.id)[-12:]} {says(progress)}", self.screen.width - 1 + colours)

    def _draw(self, lines: list[str]) -> None:
        """Have these lines stand at the end of the screen, in the place of those before."""
        if not self._has_bars:
            return
        up = f"\033[{self._drawn}F\033[J" if self._drawn else ""
        self.screen.out.write(up + "".join(f"{line}\n" for line in lines))
        self.screen.out.flush()
        self._drawn = len(lines)

    def _news(self, running: list[JobSummary], now: dt.datetime) -> Iterator[tuple[dt.datetime, str, JobSummary]]:
        tenant = self.tenant
        since = max(self._since - _OVERLAP, self._first)
        for job in queries.created_between(since, now, limit=_LIMIT, tenant=tenant):
            if self._is_new("created", job.id, None, now):
                yield job.created_at, "created", job
        for job in running:
            if self._is_new("started", job.id, job.attempt, now):
                yield job.started_at or now, "started", job
            if not self._has_bars and _reports(job) and self._is_new("progress", job.id, _reported(job), now):
                yield now, "progress", job
        for job in queries.ended_between(since, now, limit=_LIMIT, tenant=tenant):
            if self._is_new("ended", job.id, job.attempt, now):
                yield job.finished_at or now, "ended", job
        self._since = now

    def _is_new(self, kind: str, job_id: uuid.UUID, mark: Any, now: dt.datetime) -> bool:
        key = (kind, job_id, mark)
        is_new = key not in self._told
        self._told[key] = now
        return is_new

    def _tell(self, moment: dt.datetime, kind: str, job: JobSummary, progress: JobProgress | None) -> None:
        if self.as_json:
            pace = {"rate": progress.rate, "remaining_seconds": progress.remaining_seconds} if progress else {}
            self.screen.json_line({"at": moment, "event": kind, "job": job, **pace})
            return
        clock = self.screen.paint(moment.astimezone().strftime("%H:%M:%S"), "grey")
        word, colour = (job.state, _COLOURS.get(job.state, "")) if kind == "ended" else (kind, "")
        detail = says(progress) if kind == "progress" and progress else _detail(kind, job)
        self.screen.line(f"{clock} {self.screen.paint(word.ljust(10), colour)} {job.task} {job.id} {detail}".rstrip())


_COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow"}


def _reports(job: JobSummary) -> bool:
    """Whether there is progress to show, of the attempt that runs."""
    if job.progress_current is None or job.progress_at is None:
        return False
    return job.started_at is None or job.progress_at >= job.started_at


def _reported(job: JobSummary) -> tuple[float | None, float | None, str]:
    return job.progress_current, job.progress_total, job.progress_message


def _detail(kind: str, job: JobSummary) -> str:
    if kind == "created":
        return f"in {job.queue}"
    if kind != "ended":
        return f"attempt {job.attempt}" if job.attempt > 1 else ""
    took = duration(job.finished_at - job.started_at) if job.finished_at and job.started_at else ""
    return " ".join(part for part in (f"in {took}" if took else "", job.reason) if part)
