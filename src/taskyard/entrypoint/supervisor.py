"""Running several processes in one terminal: prefixed output, one end for all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

from taskyard.entrypoint import parents
from taskyard.entrypoint.screen import Screen

_COLOURS = ("cyan", "magenta", "yellow", "green", "blue")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One process to run."""

    name: str
    command: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True)
class _Ended:
    part: Part
    code: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    signal: signal.Signals


class Supervisor:
    """Runs its parts until one ends or somebody asks to stop; then all end.

    A part that dies is not started again: whoever looks at the terminal should see it, and in production the thing
    that starts *this* process decides.
    """

    def __init__(self, parts: Sequence[Part], screen: Screen, *, grace_seconds: float) -> None:
        self.parts = parts
        self.screen = screen
        self.grace_seconds = grace_seconds
        self._events: queue.SimpleQueue[_Ended | _Asked] = queue.SimpleQueue()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._width = max(len(part.name) for part in parts)

    def run(self) -> int:
        """Until everything has ended; the exit code of the part that died, 0 after a stop that was asked for."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            self._start()
            return self._watch()
        finally:
            self._kill()
            for reader in self._readers:
                reader.join(timeout=1.0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: object) -> None:
        self._events.put(_Asked(signal.Signals(number)))

    def _start(self) -> None:
        setup = parents.child_setup()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", parents.VARIABLE: str(os.getpid())}
        for part in self.parts:
            # A session of its own: Ctrl-C reaches this process alone, which then stops its children in order.
            self._running[part.name] = subprocess.Popen(
                part.command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=setup,
            )  # fmt: skip
        for place, part in enumerate(self.parts):
            process = self._running[part.name]
            assert process.stdout is not None
            colour = _COLOURS[place % len(_COLOURS)]
            reader = threading.Thread(target=self._relay, args=(part, process.stdout, colour), daemon=True)
            reader.start()
            self._readers.append(reader)
            threading.Thread(target=self._await, args=(part, process), daemon=True).start()

    def _relay(self, part: Part, stream: IO[bytes], colour: str) -> None:
        with stream:
            for line in stream:
                self._say(part.name, line.decode(errors="replace").rstrip("\r\n"), colour)

    def _await(self, part: Part, process: subprocess.Popen[bytes]) -> None:
        self._events.put(_Ended(part, process.wait()))

    def _say(self, name: str, text: str, colour: str = "grey") -> None:
        with self._lock:
            self.screen.line(f"{self.screen.paint(name.ljust(self._width) + ' |', colour)} {text}")

    def _watch(self) -> int:
        event = self._events.get()
        if isinstance(event, _Asked):
            code = 0
            self._say("up", f"{event.signal.name}: stopping; again to kill")
        else:
            code = self._report_death(event)
        return code if self._stop() else code or 1

    def _report_death(self, event: _Ended) -> int:
        dead = self._running.pop(event.part.name)
        # What it left behind would go on without it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(dead.pid, signal.SIGKILL)
        others = f"; stopping {', '.join(self._running)}" if self._running else ""
        self._say("up", f"{event.part.name} ended with {_describe(event.code)}{others}", "red")
        return 128 - event.code if event.code < 0 else event.code

    def _stop(self) -> bool:
        """SIGTERM to all, SIGKILL when asked again or after the grace; whether all ended by themselves."""
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + self.grace_seconds
        while self._running:
            for event in self._until(deadline):
                if isinstance(event, _Ended):
                    self._running.pop(event.part.name, None)
                    break
                self._say("up", f"killing {', '.join(self._running)}", "red")
                self._kill()
                return False
            else:
                self._say(
                    "up", f"{', '.join(self._running)} did not stop within {self.grace_seconds:.0f} s: killed", "red"
                )
                self._kill()
                return False
        return True

    def _until(self, deadline: float) -> Iterator[_Ended | _Asked]:
        left = deadline - time.monotonic()
        try:
            yield self._events.get(timeout=max(left, 0.0))
        except queue.Empty:
            return

    def _kill(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"
