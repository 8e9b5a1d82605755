"""Named places in Taskyard's code where a test makes a process die, or an error strike.

    from taskyard.testing import faults

    with faults.armed("settle.moved", faults.killing(mark)):
        ...

:data:`POINTS` says where each stands. A point is armed in the process that is to be struck; a test that starts workers
hands the name down and arms it where the worker's project is set up (``AppConfig.ready``). Pool children inherit what
was armed when they were forked.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taskyard.runtime.faults import POINTS, arm, disarm

__all__ = ["POINTS", "Died", "arm", "armed", "disarm", "dying", "killing", "raising"]


class Died(BaseException):
    """Stands for the death of a worker where jobs run in the test's own process; no task can catch it by accident."""

    def __init__(self, point: str) -> None:
        self.point = point
        super().__init__(f"died at the fault point {point!r}, as a test asked for")


@contextmanager
def armed(point: str, action: Callable[[], None]) -> Iterator[None]:
    """``action`` strikes at the point within the block; afterwards nothing strikes anywhere.

    Raises ``KeyError`` for a point that does not exist.
    """
    arm(point, action)
    try:
        yield
    finally:
        disarm()


@contextmanager
def dying(point: str) -> Iterator[None]:
    """The first attempt that gets to the point within the block ends there, as if its worker had been killed.

    For jobs that run in the test's process: :func:`taskyard.testing.run_jobs` takes the worker for lost, and the job
    runs again. Raises ``AssertionError`` at the end of the block if nothing got there.
    """
    struck: list[str] = []

    def strike() -> None:
        if not struck:
            struck.append(point)
            raise Died(point)

    with armed(point, strike):
        yield
    if not struck:
        raise AssertionError(f"No attempt got to the fault point {point!r}.")


def killing(mark: Path, *, before: Callable[[], None] | None = None) -> Callable[[], None]:
    """An action that kills its process, with SIGKILL, the first time any process that shares ``mark`` gets there.

    The file ``mark`` is made by the one that dies. ``before`` is called last, to write down what is about to die.
    """

    def strike() -> None:
        if not _is_first(mark):
            return
        if before is not None:
            before()
        os.kill(os.getpid(), signal.SIGKILL)

    return strike


def raising(mark: Path, error: BaseException) -> Callable[[], None]:
    """The same, but an error strikes: an agent's thread meets it as it would meet any error of its own."""

    def strike() -> None:
        if _is_first(mark):
            raise error

    return strike


def _is_first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
