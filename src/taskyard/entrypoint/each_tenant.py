"""Running a command once for each tenant: in processes, a few at a time, with one account of all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO

from taskyard.entrypoint import parents
from taskyard.entrypoint.screen import Screen, cut, duration

_COLOURS = ("cyan", "magenta", "yellow", "green", "blue")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Prefixes of output are as wide as the longest name, up to this.
_WIDEST = 24


@dataclasses.dataclass(slots=True)
class Account:
    """What became of each tenant's run."""

    ok: list[str] = dataclasses.field(default_factory=list)
    #: Exit codes by tenant; a negative one is the signal that ended it.
    failed: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Ended midway because somebody asked.
    stopped: list[str] = dataclasses.field(default_factory=list)
    not_begun: list[str] = dataclasses.field(default_factory=list)
    #: What asked to stop, if anything did.
    signal: signal.Signals | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    tenant: str
    process: subprocess.Popen[bytes]
    began: float


class EachTenant:
    """Runs ``command(tenant)`` for each of the tenants, ``parallel`` at a time; once."""

    def __init__(
        self, command: Callable[[str], Sequence[str]], tenants: Sequence[str], *, screen: Screen,
        parallel: int, is_fail_fast: bool = False, grace_seconds: float = 10.0,
    ) -> None:  # fmt: skip
        self.command, self.screen = command, screen
        self.parallel, self.is_fail_fast, self.grace_seconds = parallel, is_fail_fast, grace_seconds
        self.account = Account()
        self._total = len(tenants)
        self._waiting = deque(tenants)
        self._running: dict[str, _Run] = {}
        self._events: queue.SimpleQueue[_Run | signal.Signals] = queue.SimpleQueue()
        self._width = min(max((len(name) for name in tenants), default=0), _WIDEST)
        self._lock = threading.Lock()
        self._deadline: float | None = None

    def run(self) -> Account:
        """Until all have ended, or those that run when somebody asks to stop or, with ``is_fail_fast``, one fails."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            self._fill()
            while self._running:
                self._next()
                self._fill()
        finally:
            self._signal_all(signal.SIGKILL)
            for number, handler in before.items():
                signal.signal(number, handler)
        self._say("")
        self.account.not_begun = list(self._waiting)
        return self.account

    def _on_signal(self, number: int, _: object) -> None:
        self._events.put(signal.Signals(number))

    def _fill(self) -> None:
        is_over = self.account.signal is not None or (self.is_fail_fast and self.account.failed)
        while self._waiting and not is_over and len(self._running) < self.parallel:
            self._start(self._waiting.popleft())

    def _start(self, tenant: str) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", parents.VARIABLE: str(os.getpid())}
        # A session of its own: Ctrl-C reaches this process alone, which then tells its children.
        process = subprocess.Popen(
            self.command(tenant), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=parents.child_setup(),
        )  # fmt: skip
        run = self._running[tenant] = _Run(tenant, process, time.monotonic())
        assert process.stdout is not None
        colour = _COLOURS[(self._total - len(self._waiting)) % len(_COLOURS)]
        reader = threading.Thread(target=self._relay, args=(tenant, process.stdout, colour), daemon=True)
        reader.start()
        threading.Thread(target=self._await, args=(run, reader), daemon=True).start()
        self._say("")

    def _relay(self, tenant: str, stream: IO[bytes], colour: str) -> None:
        prefix = self.screen.paint(f"{cut(tenant, _WIDEST).ljust(self._width)} |", colour)
        with stream:
            for line in stream:
                self._say(f"{prefix} {line.decode(errors='replace').rstrip()}")

    def _await(self, run: _Run, reader: threading.Thread) -> None:
        run.process.wait()
        # What it left running may hold its output open for ever.
        reader.join(timeout=1.0)
        self._events.put(run)

    def _next(self) -> None:
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)
        try:
            event = self._events.get(timeout=left)
        except queue.Empty:
            self._kill(f"did not stop within {self.grace_seconds:.0f} s")
            return
        if isinstance(event, _Run):
            self._note_end(event)
        elif self.account.signal is not None:
            self._kill("asked again")
        else:
            self.account.signal = event
            self._deadline = time.monotonic() + self.grace_seconds
            self._say(self.screen.paint(f"{event.name}: stopping {', '.join(self._running)}; again to kill", "grey"))
            self._signal_all(event)

    def _kill(self, why: str) -> None:
        self._say(self.screen.paint(f"{', '.join(self._running)}: {why}: killed", "red"))
        self._signal_all(signal.SIGKILL)
        self._deadline = None

    def _note_end(self, run: _Run) -> None:
        del self._running[run.tenant]
        code = run.process.returncode
        if code == 0:
            self.account.ok.append(run.tenant)
        elif self.account.signal is not None:
            self.account.stopped.append(run.tenant)
        else:
            self.account.failed[run.tenant] = code
        outcome = "ok" if code == 0 else described(code)
        number = self._total - len(self._waiting) - len(self._running)
        took = duration(time.monotonic() - run.began)
        line = f"[{number:,}/{self._total:,}] {run.tenant}: {outcome}, {took}"
        self._say(self.screen.paint(line, "grey" if code == 0 else "red"))

    def _signal_all(self, number: signal.Signals) -> None:
        for run in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.process.pid, number)

    def _say(self, text: str) -> None:
        """A line, above the one that tells how far it is where there is a terminal."""
        with self._lock:
            if self.screen.is_terminal:
                self.screen.out.write("\r\033[2K")
            if text:
                self.screen.line(text)
            if self.screen.is_terminal and self._running:
                self.screen.out.write(self.screen.paint(cut(self._progress(), self.screen.width - 1), "bold"))
            self.screen.out.flush()

    def _progress(self) -> str:
        running = list(self._running)
        failed = f", {len(self.account.failed):,} failed" if self.account.failed else ""
        done = self._total - len(self._waiting) - len(running)
        return f"{done:,} of {self._total:,} done{failed}; now {', '.join(running)}"


def described(code: int) -> str:
    """An exit code in words; a negative one is a signal."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
