"""Killing and stopping processes: a worker's main process, one of its children, or all of them at once. Linux only.

A process is named by its id *and* its start time, so that a signal never reaches another one that got the id later.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """One process of this machine, whoever started it."""

    pid: int
    #: When it started, in clock ticks since boot; None if it was gone already.
    started: int | None

    @property
    def is_alive(self) -> bool:
        """Whether it exists and is more than an entry that nobody has reaped."""
        fields = _stat(self.pid)
        return self.started is not None and _started(fields) == self.started and fields[0] not in ("Z", "X")

    @property
    def is_stopped(self) -> bool:
        """Whether SIGSTOP has taken effect."""
        fields = _stat(self.pid)
        return self.is_alive and fields[0] == "T"

    @property
    def children(self) -> tuple[Process, ...]:
        """The processes it forked that are still there: a worker's pool."""
        found: list[int] = []
        with suppress(OSError):
            for task in Path(f"/proc/{self.pid}/task").iterdir():
                with suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
        return tuple(process(pid) for pid in found)

    @property
    def family(self) -> tuple[Process, ...]:
        """Itself and everything below it, itself first."""
        return (self, *(member for child in self.children for member in child.family))

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; False if the process is gone."""
        if not self.is_alive:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False

    def kill(self) -> bool:
        """SIGKILL: as if the kernel had run out of memory."""
        return self.signal(signal.SIGKILL)

    def stop(self) -> bool:
        """SIGSTOP: it keeps its connections and does nothing, as a suspended virtual machine does."""
        return self.signal(signal.SIGSTOP)

    def resume(self) -> bool:
        """SIGCONT."""
        return self.signal(signal.SIGCONT)


def process(pid: int) -> Process:
    """The process that has this id now."""
    return Process(pid, _started(_stat(pid)))


def kill_all(processes: Sequence[Process]) -> None:
    """SIGKILL for each; the first before its children, so that it cannot replace them."""
    for one in processes:
        one.kill()


@contextmanager
def stopped(processes: Sequence[Process]) -> Iterator[None]:
    """They stand still within the block; resumed in the opposite order, whatever happens in it."""
    for one in processes:
        one.stop()
    try:
        yield
    finally:
        for one in reversed(processes):
            one.resume()


def _stat(pid: int) -> list[str]:
    # Behind the name, which may hold anything, brackets and spaces included: state, parent, group, ...
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X"]


def _started(fields: list[str]) -> int | None:
    return int(fields[19]) if len(fields) > 19 else None
