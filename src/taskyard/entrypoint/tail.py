"""Following jobs: a line when one comes, reports progress, is tried again or ends."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, duration
from taskyard.jobs import queries
from taskyard.jobs.queries import JobSummary

_EVERY_SECONDS = 0.5
#: On large tables a look takes longer; then it is taken less often, so that following costs a tenth of a core at most.
_REST_PER_LOOK = 9
#: Rows of one look; what is beyond comes with the next.
_LIMIT = 500
#: Clocks of several hosts and transactions that commit late: moments are looked at once more for this long.
_OVERLAP = dt.timedelta(seconds=3)


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

    def follow(self, *, until_idle: bool) -> int:
        """Write lines until interrupted; with ``until_idle`` until nothing is left to do."""
        while True:
            began = time.monotonic()
            # Asked before the look, so that what ended in between is still told.
            is_over = until_idle and queries.is_idle(tenant=self.tenant)
            self.look(dt.datetime.now(dt.UTC))
            if is_over:
                return Exit.OK
            took = time.monotonic() - began
            self._pause.wait(max(_EVERY_SECONDS, took * _REST_PER_LOOK))

    def look(self, now: dt.datetime) -> None:
        """Write what is new."""
        for moment, kind, job in sorted(self._news(now), key=lambda entry: (entry[0], entry[1], str(entry[2].id))):
            self._tell(moment, kind, job)
        self._told = {key: at for key, at in self._told.items() if now - at < 20 * _OVERLAP}

    def _news(self, now: dt.datetime) -> Iterator[tuple[dt.datetime, str, JobSummary]]:
        tenant = self.tenant
        since = max(self._since - _OVERLAP, self._first)
        for job in queries.created_between(since, now, limit=_LIMIT, tenant=tenant):
            if self._is_new("created", job.id, None, now):
                yield job.created_at, "created", job
        for job in queries.running_jobs(limit=_LIMIT, tenant=tenant):
            if self._is_new("started", job.id, job.attempt, now):
                yield job.started_at or now, "started", job
            if job.progress_current is not None and self._is_new("progress", job.id, _progress(job), now):
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

    def _tell(self, moment: dt.datetime, kind: str, job: JobSummary) -> None:
        if self.as_json:
            self.screen.json_line({"at": moment, "event": kind, "job": job})
            return
        clock = self.screen.paint(moment.astimezone().strftime("%H:%M:%S"), "grey")
        word, colour = (job.state, _COLOURS.get(job.state, "")) if kind == "ended" else (kind, "")
        self.screen.line(
            f"{clock} {self.screen.paint(word.ljust(10), colour)} {job.task} {job.id} {_detail(kind, job)}".rstrip()
        )


_COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow"}


def _progress(job: JobSummary) -> tuple[float | None, float | None, str]:
    return job.progress_current, job.progress_total, job.progress_message


def _detail(kind: str, job: JobSummary) -> str:
    if kind == "created":
        return f"in {job.queue}"
    if kind == "started":
        return f"attempt {job.attempt}" if job.attempt > 1 else ""
    if kind == "progress":
        total = f" of {job.progress_total:g}" if job.progress_total else ""
        return f"{job.progress_current:g}{total} {job.progress_message}".strip()
    took = duration(job.finished_at - job.started_at) if job.finished_at and job.started_at else ""
    return " ".join(part for part in (f"in {took}" if took else "", job.reason) if part)
