"""The nursery's own process: reads the libraries, then forks a child for each program that it is told of.

A program comes as one message on the socket whose number is the argument: JSON, with the descriptors of its input,
output, errors and report. Two lines are written into the report: its process, when it can be signalled, and how it
ended. When the socket is closed, whatever still runs is killed with its session.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType

#: What workers and commands read, and what of it reads no settings. A name that is missing here costs time only.
LIBRARIES = (
    "amqp", "billiard.pool", "celery.app.amqp", "celery.app.control", "celery.apps.worker", "celery.bin.celery",
    "celery.concurrency.prefork", "celery.concurrency.solo", "celery.concurrency.thread", "celery.contrib.django.task",
    "celery.fixups.django", "celery.loaders.app", "celery.worker.autoscale", "celery.worker.components",
    "celery.worker.consumer", "celery.worker.control", "celery.worker.strategy", "cronsim",
    "django.contrib.auth.hashers", "django.core.management.commands.check", "django.core.management.commands.migrate",
    "django.core.serializers.json", "django.db.backends.postgresql.base", "django.db.backends.sqlite3.base",
    "django.db.migrations.executor", "django.middleware.cache", "django.template.loader", "django.views.csrf",
    "django.views.debug", "django.views.defaults", "flower.command", "getpass", "kombu.pidbox", "kombu.simple",
    "kombu.transport.pyamqp", "kombu.transport.redis", "psycopg", "pymysql", "redis",
)  # fmt: skip
MOST_BYTES = 1 << 20


@dataclass
class Program:
    """What a child becomes."""

    words: list[str]
    environment: dict[str, str]
    folder: str
    files: list[int] = field(default_factory=list)

    def take_place(self) -> None:
        """Leave everything of the nursery but the modules."""
        os.setsid()
        for number, file in enumerate(self.files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        time.tzset()
        sys.dont_write_bytecode = bool(self.environment.get("PYTHONDONTWRITEBYTECODE"))

    def run(self) -> None:
        """As `python` runs it: a module, code, or a file."""
        how, *rest = self.words
        paths = self.environment.get("PYTHONPATH", "")
        sys.path[:0] = [self.folder if how == "-m" else "", *filter(None, paths.split(os.pathsep))]
        if how == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif how == "-c":
            sys.argv = ["-c", *rest[1:]]
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), vars(main))
        else:
            sys.argv = self.words
            sys.path[0] = str(Path(how).resolve().parent)
            runpy.run_path(how, run_name="__main__")


class Nursery:
    """Forks, and tells who ended how."""

    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests
        self.reports: dict[int, int] = {}
        self.ended, self.waker = os.pipe()
        os.set_blocking(self.ended, False)
        os.set_blocking(self.waker, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)

    def serve(self) -> Program | None:
        """In each child, what it is to become; in the nursery nothing, at the end."""
        while True:
            ready, _, _ = select.select([self.requests, self.ended], [], [])
            if self.ended in ready:
                os.read(self.ended, MOST_BYTES)
                self.tell()
            if self.requests in ready:
                text, files, *_ = socket.recv_fds(self.requests, MOST_BYTES, 4)
                if not text:
                    return self.end()
                *own, report = files
                program = Program(**json.loads(text), files=own)
                if (pid := os.fork()) == 0:
                    self.leave()
                    program.take_place()
                    os.write(report, b"%d\n" % os.getpid())
                    os.close(report)
                    return program
                self.reports[pid] = report
                for file in own:
                    os.close(file)

    def tell(self) -> None:
        """Of each child that has ended."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                report = self.reports.pop(pid)
                # Whoever started it may have gone.
                with suppress(BrokenPipeError):
                    os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
                os.close(report)

    def leave(self) -> None:
        """A child's own signals, and none of its siblings' files."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.requests.close()
        for file in (self.ended, self.waker, *self.reports.values()):
            os.close(file)

    def end(self) -> None:
        for pid in self.reports:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def main(descriptor: int) -> None:
    for name in LIBRARIES:
        with suppress(ImportError):
            import_module(name)
    # Children share what they do not touch.
    gc.collect()
    gc.freeze()
    program = Nursery(socket.socket(fileno=descriptor)).serve()
    if program is not None:
        program.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
