"""The demo's screens: live while it runs, a summary at the end."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections import Counter, deque
from importlib import import_module
from pathlib import Path

from django.db.models import Count

from taskyard.entrypoint.screen import Screen, bar, cut, duration
from taskyard.jobs.models import Job
from taskyard.jobs.queries import reason_of

_SHOWN = 8
#: Columns of the live table beside its bar. A line that wraps could not be redrawn in place.
_BESIDE_BAR = 68
_BAR, _SHORTEST_BAR = 24, 6


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How far it is."""

    #: State of the job that looks for files.
    build: str
    enqueued: int
    succeeded: int
    failed: int
    running: tuple[str, ...]
    #: Jobs that needed more than one attempt.
    retried: int

    @property
    def done(self) -> int:
        """Jobs that ended."""
        return self.succeeded + self.failed

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.build in ("failed", "cancelled") or (self.build == "succeeded" and self.done == self.enqueued)


def standing() -> Standing:
    """Read it from the table."""
    states = Counter(
        dict(Job.objects.get_queryset().filter(task="index.file").values_list("state").annotate(Count("id")))
    )
    build = Job.objects.get_queryset().filter(task="index.build").first()
    files = Job.objects.get_queryset().filter(task="index.file")
    return Standing(
        build=build.state if build else "pending",
        enqueued=states.total(),
        succeeded=states["succeeded"],
        failed=states["failed"] + states["cancelled"],
        running=tuple(job.kwargs["path"] for job in files.filter(state="running").only("kwargs")[:_SHOWN]),
        retried=files.filter(attempt__gt=1).count(),
    )


class LiveView:
    """Redraws in place on a terminal; elsewhere writes a line now and then."""

    def __init__(self, screen: Screen, folder: Path) -> None:
        self.screen = screen
        self.folder = folder
        self._drawn = 0
        self._last_line = -10.0
        #: Moment and number of files done, of the last looks: what the rate is measured on.
        self._looks: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=12)

    def draw(self, now: Standing, seconds: float) -> None:
        """Show where it stands ``seconds`` after the start."""
        self._looks.append((seconds, now.done))
        if not self.screen.is_terminal or self._bar_width < _SHORTEST_BAR:
            if seconds - self._last_line >= 2.0 or now.is_over:
                self._last_line = seconds
                self.screen.note(self._plain(now, seconds))
            return
        lines = self._lines(now)
        up = f"\033[{self._drawn}F\033[J" if self._drawn else ""
        self.screen.out.write(up + "".join(f"{line}\n" for line in lines))
        self.screen.out.flush()
        self._drawn = len(lines)

    @property
    def _bar_width(self) -> int:
        return min(_BAR, self.screen.width - _BESIDE_BAR)

    def _plain(self, now: Standing, seconds: float) -> str:
        return (
            f"{seconds:5.1f} s  {now.done:,} of {now.enqueued:,} files, {self._rate()}/s,"
            f" {len(now.running)} running, {now.retried} retried, {now.failed} failed"
        )

    def _lines(self, now: Standing) -> list[str]:
        share = now.done / now.enqueued if now.enqueued else 0.0
        paint, wide = self.screen.paint, self._bar_width
        header = f"{'TASK':<12}{'':{wide + 2}}{'DONE':>16}{'RATE':>10}{'RUNNING':>9}{'RETRIED':>9}{'FAILED':>8}"
        found = 1.0 if now.build == "succeeded" else 0.0
        failed = paint(f"{now.failed:>8}", "red" if now.failed else "")
        lines = [
            paint(header, "grey"),
            f"{'index.build':<12}{paint(bar(found, wide), 'green')}  {now.build:>16}",
            f"{'index.file':<12}{paint(bar(share, wide), 'cyan')}  {f'{now.done:,} of {now.enqueued:,}':>16}"
            f"{self._rate() + '/s':>10}{len(now.running):>9}{now.retried:>9}{failed}",
            "",
        ]
        for path in now.running[:4]:
            lines.append(cut(f"  {paint('now', 'grey')} {self.short(path)}", self.screen.width))
        return lines

    def _rate(self) -> str:
        (then, before), (now, done) = self._looks[0], self._looks[-1]
        return f"{(done - before) / (now - then):.0f}" if now > then else "0"

    def short(self, path: str) -> str:
        """A path below the folder that is indexed."""
        return path.removeprefix(f"{self.folder}/")


def summary(screen: Screen, view: LiveView, *, seconds: float) -> None:
    """What came out of it."""
    # Importable since DemoProject.create() put the copied project on the path.
    files, words_module = import_module("index.models").File.objects, import_module("index.words")
    now = standing()
    screen.line()
    screen.heading(
        f"{now.succeeded:,} files indexed in {duration(seconds)}, {now.failed} failed, {now.retried} retried"
    )
    words = ", ".join(f"{word} ({count:,})" for word, count in words_module.most_frequent(8))
    screen.line(cut(f"  most frequent words: {words or 'none'}", screen.width))
    slowest = files.order_by("-seconds")[:5]
    if slowest:
        screen.line()
        screen.heading("Slowest files")
        rows = [(duration(file.seconds), file.size_bytes, file.words, view.short(file.path)) for file in slowest]
        screen.table(("TIME", "BYTES", "WORDS", "FILE"), rows, indent="  ")
    _failures(screen, view)


def _failures(screen: Screen, view: LiveView) -> None:
    failed = Job.objects.failed().filter(task="index.file").order_by("finished_at")
    rows = [(view.short(job.kwargs["path"]), job.attempt, reason_of(job.error)) for job in failed[:_SHOWN]]
    if not rows:
        return
    screen.line()
    screen.heading("Failures")
    screen.table(("FILE", "TRIES", "REASON"), rows, indent="  ")
    if failed.count() > _SHOWN:
        screen.line(f"  and {failed.count() - _SHOWN} more")


def _python() -> str:
    found = shutil.which("python")
    return "python" if found and Path(found).parent == Path(sys.executable).parent else sys.executable


def where_next(screen: Screen, folder: Path) -> None:
    """What to type now."""
    job = Job.objects.failed().values_list("id", flat=True).first()
    commands = [
        ("jobs list --state failed", "the dead letters"),
        (f"jobs show {job}" if job else "jobs list", "one job with its traceback"),
        ("doctor", "is everything all right?"),
        ("up", "web and a worker; Ctrl-C ends both"),
        ("jobs retry --state failed", "bring them back (a worker must run)"),
    ]
    screen.line()
    screen.heading("Where to look next")
    screen.line(f"  cd {folder}")
    for command, what in commands:
        screen.line(f"  {screen.paint('# ' + what, 'grey')}")
        screen.line(f"  {_python()} manage.py taskyard {command}")
    screen.line(f"  The code is in {folder / 'index'}. Delete the folder when you are done.")
