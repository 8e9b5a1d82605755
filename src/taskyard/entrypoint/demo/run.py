"""Driving the demo: start, watch, kill if asked to, judge."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import subprocess
import sysconfig
import threading
import time
from importlib import import_module
from pathlib import Path

from taskyard.entrypoint.demo import journal
from taskyard.entrypoint.demo.project import DemoFailed, DemoProject, kill_group
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen

#: Files of an unattended run: enough to be in the middle of when the worker is killed.
CHECK_FILES = 400
_LOOK_SECONDS = 0.25
#: Nothing ended for this long: something is broken. A killed worker's jobs are back after 20 to 30 seconds.
_STALLED_SECONDS = 90.0
#: The worker is killed when this share of the files is done.
_KILL_AT = 0.3


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What ``--check`` prints."""

    enqueued: int
    succeeded: int
    failed: int
    #: Jobs that needed more than one attempt.
    retried: int
    #: Jobs that did not reach a final state, or succeeded without their function having returned.
    lost: int
    #: Jobs whose function ran in two places at once, or twice for one attempt.
    duplicated: int
    seconds: float


def run_demo(options: argparse.Namespace, screen: Screen) -> int:
    """Run it from beginning to end; 1 if anything was lost or ran twice at once."""
    folder = (options.path or Path(sysconfig.get_path("stdlib"))).resolve()
    if not folder.is_dir():
        raise UsageError(f"--path {folder} is not a folder.")
    is_quiet = options.check or options.json
    say = screen.note if is_quiet else screen.line
    demo = DemoProject.create()
    is_kept = not options.check or options.keep
    try:
        say(f"Indexing {folder} in a project of its own: {demo.folder}")
        files = options.files or (CHECK_FILES if options.check else None)
        verdict = Run(demo, screen, folder=folder, is_quiet=is_quiet).perform(files, with_kill=options.check)
        if is_quiet:
            screen.json_line(dataclasses.asdict(verdict))
        is_kept = is_kept or bool(verdict.lost or verdict.duplicated)
        return Exit.WRONG if verdict.lost or verdict.duplicated else Exit.OK
    except (DemoFailed, KeyboardInterrupt):
        is_kept = True
        raise
    finally:
        demo.stop()
        if not is_kept:
            demo.remove()
        elif is_quiet:
            say(f"The project is kept in {demo.folder}.")


class Run:
    """One run of the demo."""

    def __init__(self, demo: DemoProject, screen: Screen, *, folder: Path, is_quiet: bool) -> None:
        from taskyard.entrypoint.demo.view import LiveView

        self.demo, self.screen, self.folder, self.is_quiet = demo, screen, folder, is_quiet
        shown_on = Screen(screen.err, screen.err) if is_quiet else screen
        self.view = LiveView(shown_on, folder)
        self._began = time.monotonic()
        self._killed_at: dict[int, float] = {}
        self._pause = threading.Event()

    def perform(self, files: int | None, *, with_kill: bool) -> Verdict:
        """Enqueue, work, look, judge."""
        from taskyard.entrypoint.demo.view import summary, where_next

        # Importable since DemoProject.create() put the copied project on the path.
        import_module("index.tasks").build.enqueue(folder=str(self.folder), limit=files)
        worker = self.demo.start_worker()
        if with_kill:
            self._kill_midway(worker)
            self.demo.start_worker()
        self._watch()
        seconds = time.monotonic() - self._began
        self.demo.stop()
        if not self.is_quiet:
            summary(self.screen, self.view, seconds=seconds)
            where_next(self.screen, self.demo.folder)
        return self._judge(seconds)

    def _watch(self) -> None:
        from taskyard.entrypoint.demo.view import standing

        moved_at, last = time.monotonic(), None
        while True:
            now = standing()
            self.view.draw(now, time.monotonic() - self._began)
            if now.is_over:
                return
            if last is None or (now.done, now.enqueued, now.retried) != last:
                moved_at, last = time.monotonic(), (now.done, now.enqueued, now.retried)
            if time.monotonic() - moved_at > _STALLED_SECONDS:
                self.screen.note(f"Nothing moved for {_STALLED_SECONDS:.0f} s; giving up. See {self.demo.log}.")
                return
            self.demo.check_worker()
            self._pause.wait(_LOOK_SECONDS)

    def _kill_midway(self, worker: subprocess.Popen[bytes]) -> None:
        """``kill -9`` while a function is half-way through."""
        from taskyard.entrypoint.demo.view import standing

        while True:
            now = standing()
            self.demo.check_worker()
            if now.is_over:
                self.screen.note("The worker was too quick to be killed midway; use more --files.")
                break
            is_midway = now.build == "succeeded" and now.done >= _KILL_AT * now.enqueued
            if is_midway and self._freeze_at_work(worker):
                break
            self._pause.wait(_LOOK_SECONDS / 10)
        self.screen.note(f"kill -9 of the worker and its children (process group {worker.pid}), then a new worker")
        kill_group(worker)
        self._killed_at[worker.pid] = time.monotonic()

    def _freeze_at_work(self, worker: subprocess.Popen[bytes]) -> bool:
        # Frozen first, so that it cannot leave the function between our look and the kill.
        os.killpg(worker.pid, signal.SIGSTOP)
        if journal.is_open(journal.read(self.demo.journal), worker.pid):
            return True
        os.killpg(worker.pid, signal.SIGCONT)
        return False

    def _judge(self, seconds: float) -> Verdict:
        from taskyard.jobs.models import Job

        evidence = journal.judge(journal.read(self.demo.journal), self._killed_at)
        jobs = list(Job.objects.get_queryset().values_list("id", "state", "attempt"))
        unfinished = sum(state not in ("succeeded", "failed", "cancelled") for _, state, _ in jobs)
        unproved = sum(state == "succeeded" and str(job) not in evidence.returned for job, state, _ in jobs)
        return Verdict(
            enqueued=len(jobs),
            succeeded=sum(state == "succeeded" for _, state, _ in jobs),
            failed=sum(state in ("failed", "cancelled") for _, state, _ in jobs),
            retried=sum(attempt > 1 for _, _, attempt in jobs),
            lost=unfinished + unproved + self._missing(len(jobs)),
            duplicated=len(evidence.overlapping),
            seconds=round(seconds, 1),
        )

    def _missing(self, rows: int) -> int:
        """Files the first job found that have no job."""
        from taskyard.jobs.models import Job

        build = Job.objects.get_queryset().get(task="index.build")
        found = build.result["files"] if build.result else 0
        return max(0, 1 + found - rows)
