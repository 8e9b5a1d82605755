"""Real worker processes of the test project, started, killed and waited for."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import nursery
from tests.servers import wait_until

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class WorkerProcess:
    """One ``taskyard worker`` in a session of its own."""

    process: nursery.Child | subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill_group(self) -> None:
        """``kill -9`` of the main process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)

    def kill_main(self) -> None:
        """``kill -9`` of the main process alone."""
        self.process.kill()
        self.process.wait(10)

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout: float = 20.0) -> int:
        """SIGTERM, then the end whatever it takes; the exit code."""
        if self.process.poll() is None:
            self.ask_to_stop()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout)
        self.kill_group()
        return self.process.returncode

    def output(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class Project:
    """The test project as its processes see it: broker, settings, history file."""

    folder: Path
    broker_url: str = ""
    taskyard: dict[str, Any] = field(default_factory=dict)
    celery: dict[str, Any] = field(default_factory=dict)
    workers: list[WorkerProcess] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    settings: str = "tests.settings"
    #: Whether a worker that starts spends a second on asking others what was revoked; rows say it anyway.
    mingles: bool = False
    #: Whether a worker that starts runs Django's checks of the whole project, a quarter of what its start costs.
    checks: bool = False

    @property
    def history_file(self) -> Path:
        return self.folder / "history.txt"

    @property
    def go(self) -> str:
        """A file that does not exist until :meth:`release`."""
        return str(self.folder / "go")

    def release(self) -> None:
        Path(self.go).touch()

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": self.settings,
            "TASKYARD_TEST_BROKER_URL": self.broker_url,
            "TASKYARD_TEST_TASKYARD": json.dumps(self.taskyard),
            "TASKYARD_TEST_CELERY": json.dumps(self.celery),
            "TASKYARD_TEST_HISTORY": str(self.history_file),
            "TASKYARD_TEST_FAULTS": json.dumps(self.faults),
            **({} if self.checks else {"CELERY_SKIP_CHECKS": "1"}),
        }

    def start_worker(self, *arguments: str, wait: bool = True, **environment: str) -> WorkerProcess:
        """Start a worker (two prefork slots unless said otherwise) and wait until it consumes."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        given = list(arguments)
        if not any(word.startswith("-c") for word in given):
            given += ["-c", "2"]
        if not self.mingles:
            given.append("--without-mingle")
        words = ["-m", "celery", "-A", "taskyard", "worker", "-l", "info",
                 "-n", f"w{len(self.workers)}-{self.folder.name}@%h", *given]  # fmt: skip
        with log.open("wb") as out:
            process = nursery.start(words, env={**self.environment(), **environment}, cwd=ROOT, stdout=out)
        worker = WorkerProcess(process, log)
        self.workers.append(worker)
        if wait:
            wait_until(lambda: " ready." in worker.output() or process.poll() is not None, 40, "the worker is ready")
            assert process.poll() is None, worker.output()
        return worker

    def run_python(self, code: str, timeout: float = 60.0) -> str:
        """Run code in a process of the project; its output."""
        words = ["-c", f"import django; django.setup()\n{code}"]
        done = nursery.run(words, env=self.environment(), cwd=ROOT, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def history(self) -> list[list[str]]:
        """Words of every line the tasks wrote: time, pid, words."""
        if not self.history_file.exists():
            return []
        # Whoever reads while another process writes may see the beginning of a line.
        whole, _, _ = self.history_file.read_text().rpartition("\n")
        return [line.split() for line in whole.splitlines()]

    def overlaps(self) -> list[str]:
        """Jobs of which two attempts ran at the same time, told from starts, ends and the deaths of processes."""
        return [job for job, runs in self._runs().items() if _overlap(runs)]

    def _runs(self) -> dict[str, list[list[str]]]:
        runs: dict[str, list[list[str]]] = {}
        for words in self.history():
            if words[2] in ("start", "end"):
                runs.setdefault(words[3], []).append(words)
        return runs

    def started(self, job_id: object) -> int:
        return sum(words[2] == "start" for words in self._runs().get(str(job_id), []))

    def close(self) -> None:
        for worker in self.workers:
            worker.kill_group()


def _overlap(runs: list[list[str]]) -> bool:
    # An attempt that started and did not end while its process lived on overlaps with the next start; one whose
    # process is gone ended with it, at the latest when the next one starts in another process.
    open_run: list[str] | None = None
    for words in runs:
        if words[2] == "end":
            open_run = None
        else:
            if open_run is not None and _is_alive(int(open_run[1])):
                return True
            open_run = words
    return False


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@contextmanager
def project(folder: Path, broker_url: str = "", **options: Any) -> Iterator[Project]:
    """A project whose processes are gone at the end."""
    made = Project(folder, broker_url, **options)
    try:
        yield made
    finally:
        made.release()
        made.close()


def wait_for_state(job_id: object, state: str | Callable[[str], bool], timeout: float = 30.0) -> Any:
    """Poll a job until it is in a state; the job."""
    from taskyard.models import Job

    def reached() -> bool:
        found = Job.objects.filter(id=job_id).values_list("state", flat=True).first() or ""
        return state(found) if callable(state) else found == state

    wait_until(reached, timeout, f"job {job_id} is {state}")
    return Job.objects.get(id=job_id)


def wait_until_idle(timeout: float = 60.0) -> None:
    """Poll until no job is active."""
    from taskyard.models import Job

    wait_until(lambda: not Job.objects.active().exists(), timeout, "no job is active")
