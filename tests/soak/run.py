"""One run, from the first server to the checker's report."""

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from django.db import DatabaseError, InterfaceError, connection

from taskyard.testing.checker import Report, check
from taskyard.testing.history import History, now, read
from tests.servers import wait_until
from tests.soak.breaking import Breaker
from tests.soak.crew import ROOT, Crew
from tests.soak.plan import Fault, Options, faults
from tests.soak.stage import Stage

#: A fault after which nothing is completed for this long is a defect of its own.
_LONGEST_RECOVERY = 120.0
#: Quiet time at the end in which everything must have ended; more for what still waits.
_QUIESCE_SECONDS = 120.0


@dataclass
class Result:
    """What a run was and what it found."""

    options: Options
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    #: Longest time from the end of a fault to the next completed job, and after which kind that was.
    longest_recovery: float = 0.0
    slowest: str = "nothing"
    #: Longest time from SIGTERM to the end of a worker.
    longest_stop: float = 0.0
    #: What went wrong beside what the checker finds.
    troubles: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)


class Pulse:
    """Whether jobs are being completed: reads what was appended to the history since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0

    def skip(self) -> None:
        """Forget what is there already."""
        self.position = self.path.stat().st_size if self.path.exists() else 0

    def beats(self) -> bool:
        """Whether a job has ended since."""
        if not self.path.exists():
            return False
        with self.path.open("rb") as file:
            file.seek(self.position)
            fresh = file.read()
        # The last line may be one that is being written.
        self.position += fresh.rfind(b"\n") + 1
        return b'"how":"returned"' in fresh


class Run:
    """Producers, workers and faults, in this order of their start."""

    def __init__(self, stage: Stage, say: Callable[[str], None]) -> None:
        self.stage, self.options, self.say = stage, stage.options, say
        self.history = History(stage.project.history_file)
        self.crew = Crew(stage, self.history)
        self.breaker = Breaker(stage, self.crew, self.history, rest=time.sleep)
        self.breaker.on_deploy, self.breaker.on_deployed = self._restart_producer, self._deployed
        self.pulse = Pulse(stage.project.history_file)
        self.result = Result(self.options)
        self.producers: list[subprocess.Popen[bytes]] = []
        self.began = time.monotonic()

    def go(self) -> Result:
        """Everything but the judging."""
        try:
            self._begin()
            self._break_things()
            self._quiesce()
        finally:
            self._stop_producer(patience=5)
            self.crew.end()
        self.result.longest_stop = self.crew.longest_stop
        self.result.seconds = time.monotonic() - self.began
        self.result.troubles += self.crew.died
        return self.result

    def _begin(self) -> None:
        for place in range(self.options.workers):
            self.crew.start(place)
        self._start_producer(self.options.jobs)
        wait_until(self.pulse.beats, 90, "the first job ends")

    # -- producers

    def _start_producer(self, jobs: int) -> None:
        left = max(1.0, self.options.seconds - (time.monotonic() - self.began))
        name = f"p{len(self.producers) + 1}"
        environment = {
            **self.stage.project.environment(),
            "SOAK_FOLDER": str(self.stage.folder), "SOAK_SEED": str(self.options.seed), "SOAK_NAME": name,
            "SOAK_JOBS": str(jobs), "SOAK_RATE": str(jobs / left),
        }  # fmt: skip
        self.pending = jobs
        with (self.stage.folder / f"{name}.log").open("wb") as out:
            self.producers.append(
                subprocess.Popen([sys.executable, "-m", "tests.soak.producer"], env=environment, cwd=ROOT,
                                 stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            )  # fmt: skip

    def _stop_producer(self, *, patience: float) -> None:
        if not self.producers:
            return
        producer = self.producers[-1]
        stop = self.stage.folder / "stop"
        stop.touch()
        with contextlib.suppress(subprocess.TimeoutExpired):
            producer.wait(patience)
        if producer.poll() is None:
            producer.kill()
            producer.wait()
            self.result.troubles.append("the producer did not stop and was killed")
        elif producer.returncode:
            self.result.troubles.append(f"the producer ended with {producer.returncode}, see its log")
        stop.unlink()

    def _restart_producer(self) -> None:
        self._stop_producer(patience=60)
        written = self.stage.folder / f"written-p{len(self.producers)}"
        done = int(written.read_text()) if written.exists() else 0
        if self.pending > done:
            self._start_producer(self.pending - done)

    def _deployed(self) -> None:
        (self.stage.folder / "deployed").touch()

    # -- faults

    def _break_things(self) -> None:
        plan = faults(self.options)
        while self._left() > 0:
            fault = next(plan)
            time.sleep(min(fault.after, max(0.0, self._left())))
            if self._left() <= 0:
                return
            self._break(fault)
            self.crew.replace_the_dead()

    def _left(self) -> float:
        return self.options.seconds - (time.monotonic() - self.began)

    def _break(self, fault: Fault) -> None:
        extra = f" {fault.point}" if fault.kind == "kill-at-point" else ""
        self.say(f"{time.monotonic() - self.began:7.1f} s  {fault.number:3} {fault.kind}{extra}, worker {fault.worker},"
                 f" held {fault.hold:.1f} s{', and that worker killed' if fault.with_kill else ''}")  # fmt: skip
        self.result.faults[fault.kind] += 1
        try:
            self.breaker.strike(fault)
        except (TimeoutError, OSError, RuntimeError, DatabaseError, InterfaceError) as error:
            self.result.troubles.append(f"fault {fault.number}, {fault.kind}: {error}")
        self._recover(fault.kind)

    def _recover(self, kind: str) -> None:
        self.pulse.skip()
        healed = now()
        try:
            wait_until(lambda: self.pulse.beats() or self._is_idle(), _LONGEST_RECOVERY, "a job ends")
        except TimeoutError:
            self.result.troubles.append(f"no job ended for {_LONGEST_RECOVERY:.0f} s after {kind}")
        taken = now() - healed
        self.say(f"{time.monotonic() - self.began:7.1f} s      over for {taken:.1f} s when the next job ended")
        if taken > self.result.longest_recovery:
            self.result.longest_recovery, self.result.slowest = taken, kind

    def _is_idle(self) -> bool:
        return self.producers[-1].poll() is not None and not self._active()

    # -- the end

    def _quiesce(self) -> None:
        self._stop_producer(patience=60)
        waiting = self._active()
        self.say(f"{time.monotonic() - self.began:7.1f} s  no more faults; {waiting} jobs are not final")
        self.crew.replace_the_dead()
        deadline = _QUIESCE_SECONDS + waiting / 50
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not self._active(), deadline, "every job is final")

    def _active(self) -> int:
        from taskyard.models import Job

        try:
            return Job.objects.active().count()
        except (DatabaseError, InterfaceError):
            connection.close()
            return -1


def judge(stage: Stage, result: Result) -> None:
    """Let the checker compare the table with the history."""
    from taskyard.testing.table import read_table

    connection.close()
    result.report = check(read(stage.project.history_file), read_table(), unrecorded=["celery.chord_unlock"])


def clean_environment() -> None:
    """What a shell or a test run left must not reach the run's processes."""
    for name in ("TASKYARD_TEST_BROKER_URL", "TASKYARD_TEST_TASKYARD", "TASKYARD_TEST_CELERY", "TASKYARD_TEST_FAULTS",
                 "TASKYARD_TEST_DB_PORT", "SOAK_FAULT", "SOAK_RELEASE"):  # fmt: skip
        os.environ.pop(name, None)
