"""Python processes of tests, started in a twentieth of the time and at a twentieth of the price.

Most of what a worker or a command costs before it does anything is reading libraries. One process for each run of
tests has read them, and forks a child for each program. What a child reads itself: Taskyard, the project, its settings.
What it has to itself: environment, folder, files, session, signals, arguments, database connections and the whole end
of an interpreter. Its parent is the nursery.

Programs that must start cold (the first contact, another interpreter, a terminal) are started with `subprocess`.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

FORKING = Path(__file__).with_name("forking.py")
#: It reads the libraries first, on a busy machine.
START_TIMEOUT_SECONDS = 60


class Child:
    """A program that the nursery started, with the words of `subprocess.Popen`."""

    def __init__(self, pid: int, report: int) -> None:
        self.pid, self._report = pid, report
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, minus the signal that ended it, or None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """The same when it has ended; raises `subprocess.TimeoutExpired`."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._report], [], [], seconds)[0]:
            self.returncode = int(_line(self._report) or -signal.SIGKILL)
            os.close(self._report)
        return self.returncode


class Nursery:
    """The process, started by the first program."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with theirs:
            # Not of its own folder: `-P`. What it reads must not be what the tests have on their path.
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(FORKING), str(theirs.fileno())], pass_fds=[theirs.fileno()], env=kept,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def start(self, program: Mapping[str, object], files: Sequence[int]) -> Child:
        reader, writer = os.pipe()
        try:
            socket.send_fds(self._requests, [json.dumps(program).encode()], [*files, writer])
        finally:
            os.close(writer)
        if not select.select([reader], [], [], START_TIMEOUT_SECONDS)[0]:
            raise TimeoutError(f"the nursery forked nothing in {START_TIMEOUT_SECONDS} s")
        pid = _line(reader)
        assert pid, "the nursery is gone; what it said is in the output of the tests"
        return Child(int(pid), reader)

    def close(self) -> None:
        self._requests.close()
        self._process.wait()


_nursery: list[Nursery] = []


def start(
    words: Sequence[str], *, env: Mapping[str, str], cwd: Path, stdout: IO[Any], stderr: IO[Any] | None = None
) -> Child | subprocess.Popen[bytes]:
    """What follows `python` on a command line, in a session of its own, with nothing to read from its input.

    Errors go where output goes, unless they are told to go elsewhere.
    """
    if sys.platform != "linux":
        return subprocess.Popen(
            [sys.executable, *words], env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=stderr or subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    if not _nursery:
        _nursery.append(Nursery())
        atexit.register(_nursery[0].close)
    program = {"words": list(words), "environment": dict(env), "folder": str(cwd)}
    with Path(os.devnull).open("rb") as nothing:
        return _nursery[0].start(program, [nothing.fileno(), stdout.fileno(), (stderr or stdout).fileno()])


def run(words: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """The same, to its end: what it wrote, and its exit code. Killed with its session when it takes too long."""
    with ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile("w+", errors="replace")) for _ in range(2))
        child = start(words, env=env, cwd=cwd, stdout=out, stderr=err)
        try:
            code = child.wait(timeout)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess([*words], code, out.read(), err.read())


def _line(report: int) -> bytes:
    """The next line of a report; nothing if whoever writes it is gone."""
    line = b""
    while (byte := os.read(report, 1)) not in (b"", b"\n"):
        line += byte
    return line
