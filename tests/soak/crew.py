"""The workers of a run: which process is in which place, who was killed on purpose, who died by itself."""

import signal
import subprocess
import threading
import time
from pathlib import Path

from taskyard.testing.history import History
from taskyard.testing.processes import Process, kill_all, process
from tests import nursery
from tests.servers import wait_until
from tests.soak.stage import Stage

ROOT = Path(__file__).resolve().parent.parent.parent
Started = nursery.Child | subprocess.Popen[bytes]


class Crew:
    """A worker in each place; one that ends without having been asked to is noted and replaced."""

    def __init__(self, stage: Stage, history: History) -> None:
        self.stage, self.history = stage, history
        self.workers: dict[int, Started] = {}
        self.logs: dict[int, Path] = {}
        self.started = 0
        #: Places and exit codes of workers that ended by themselves.
        self.died: list[str] = []
        #: From SIGTERM to the end of the process.
        self.longest_stop = 0.0

    def start(self, place: int, **environment: str) -> None:
        """Start a worker in a place, without waiting for it."""
        self.started += 1
        log = self.logs[place] = self.stage.folder / f"worker-{self.started}.log"
        words = ["-m", "celery", "-A", "taskyard", "worker", "-l", "warning", "-c", "2",
                 "-Q", "celery,slow", "-n", f"soak-{self.started}@%h"]  # fmt: skip
        with log.open("wb") as out:
            given = {**self.stage.project.environment(), **environment}
            self.workers[place] = nursery.start(words, env=given, cwd=ROOT, stdout=out)

    def main(self, place: int) -> Process:
        return process(self.workers[place].pid)

    def kill(self, place: int, *, group: bool) -> None:
        """SIGKILL of the main process, or of it and its children at once."""
        family = self.main(place).family
        self.history.killed(member.pid for member in family)
        kill_all(family if group else family[:1])
        self.workers[place].wait(20)
        wait_until(lambda: not any(member.is_alive for member in family), 5, "no child outlives its parent")

    def kill_child(self, place: int) -> None:
        for child in self.main(place).children[:1]:
            self.history.killed([child.pid])
            child.kill()

    def terminate(self, place: int) -> None:
        """SIGTERM, and nothing more: it must end within its grace period and a few seconds."""
        worker = self.workers[place]
        began = time.monotonic()
        worker.terminate()
        try:
            code = worker.wait(45)
        except subprocess.TimeoutExpired:
            self.died.append(f"worker in place {place} did not end 45 s after SIGTERM")
            self.kill(place, group=True)
            return
        self.longest_stop = max(self.longest_stop, time.monotonic() - began)
        # Minus SIGTERM: it was still starting, and had no handler yet.
        if code not in (0, -signal.SIGTERM):
            self.died.append(f"worker in place {place} ended with {code} after SIGTERM")

    def replace_the_dead(self, *, expected: frozenset[int] = frozenset()) -> None:
        """Start a worker where there is none; one that was not expected to die is noted."""
        for place, worker in list(self.workers.items()):
            if worker.poll() is not None:
                if place not in expected and not self._could_not_start(place):
                    self.died.append(f"worker in place {place} ended by itself with {worker.returncode}")
                self.start(place)

    def _could_not_start(self, place: int) -> bool:
        """Whether it met a database that was away: Celery's start asks it, and a supervisor would try again."""
        text = self.logs[place].read_text(errors="replace")
        return "<frozen runpy>" in text and "OperationalError" in text

    def end(self) -> None:
        """Everybody stops; killed if need be."""
        threads = [threading.Thread(target=self._end, args=(worker,)) for worker in self.workers.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _end(self, worker: Started) -> None:
        family = process(worker.pid).family
        worker.terminate()
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            kill_all(family)
            worker.wait(20)
