"""The temporary project, and the workers that run in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import django

from taskyard.entrypoint import demo_project, parents, project
from taskyard.errors import TaskyardError

_STOP_SECONDS = 40.0


class DemoFailed(TaskyardError):
    """The demo could not go on."""


class DemoProject:
    """A copy of ``demo_project`` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "worker.log"
        self._workers: list[subprocess.Popen[bytes]] = []

    @classmethod
    def create(cls) -> DemoProject:
        """Copy the files, set Django up for them in this process, and make the tables."""
        folder = Path(tempfile.mkdtemp(prefix="taskyard-demo-"))
        source = Path(demo_project.__file__).parent
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder, ignore=ignored, dirs_exist_ok=True)
        (folder / "__init__.py").unlink()
        for name in list(os.environ):
            # The demo is on defaults: the caller's Celery settings are none of its business.
            if name.startswith("CELERY_"):
                del os.environ[name]
        os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
        sys.path.insert(0, str(folder))
        django.setup()
        from django.core.management import call_command

        call_command("migrate", run_syncdb=True, verbosity=0)
        return cls(folder)

    @property
    def journal(self) -> Path:
        """Where tasks note their starts and ends."""
        return self.folder / "journal.jsonl"

    def start_worker(self) -> subprocess.Popen[bytes]:
        """A worker in a process group of its own; its output goes to the log."""
        name = f"demo{len(self._workers) + 1}@%h"
        command = project.module_command("taskyard", "worker", "-l", "warning", "-n", name)
        with self.log.open("ab") as log:
            worker = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=parents.child_setup(),
            )  # fmt: skip
        self._workers.append(worker)
        return worker

    def check_worker(self) -> None:
        """Raises :class:`DemoFailed` if the newest worker ended by itself."""
        code = self._workers[-1].poll() if self._workers else None
        if code is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise DemoFailed(f"The worker ended with exit code {code}. The end of {self.log}:\n{tail}")

    def stop(self) -> None:
        """Warm shutdown of every worker, then the hard one."""
        running = [worker for worker in self._workers if worker.poll() is None]
        for worker in running:
            worker.terminate()
        for worker in running:
            try:
                worker.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                kill_group(worker)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def kill_group(worker: subprocess.Popen[bytes]) -> None:
    """``kill -9`` of the worker and all its children, and wait until it is gone."""
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
