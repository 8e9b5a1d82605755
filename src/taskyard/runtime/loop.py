"""The one loop of every agent: it alone reads the clock, waits, handles errors and stops."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from django.db import connections

from taskyard.runtime import ticks
from taskyard.runtime.wakeup import Listener

logger = logging.getLogger(__name__)

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0


class Agent(Protocol):
    """Something that acts again and again: one public verb, no loop and no sleep of its own."""

    name: str
    #: Channels whose wake-ups end its pause early.
    channels: Sequence[str]

    def run_once(self, now: dt.datetime) -> int:
        """Act; how much was done."""
        ...

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """How long to wait after a turn that did ``done``; ``is_deaf``: no notification will arrive meanwhile."""
        ...

    def interrupted(self) -> None:
        """The last turn ended in an error: what was observed before it may be stale."""
        ...

    def stop(self) -> None:
        """The loop ends: give back what others may want."""
        ...


class Loop(threading.Thread):
    """Runs one agent in a thread with a database connection of its own."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(name=f"taskyard-{agent.name}", daemon=True)
        self.agent = agent
        self.turns = 0
        self._failures = 0
        self._stop_asked = threading.Event()
        self._listener: Listener | None = None

    def start(self) -> None:
        """Let it run; one that never comes out of its first turn is late from here on."""
        ticks.note(self.agent.name, dt.datetime.now(dt.UTC))
        super().start()

    def run(self) -> None:
        """Until :meth:`ask_to_stop`."""
        self._listener = listener = Listener(*self.agent.channels) if self.agent.channels else None
        name = self.agent.name
        while not self._stop_asked.is_set():
            now = dt.datetime.now(dt.UTC)
            seconds = self.turn(now, is_deaf=listener is None or listener.is_deaf)
            ticks.note(name, now, wait_seconds=seconds, failures=self._failures)
            self._wait(listener if not self._failures else None, seconds)
        ticks.forget(name)
        self._end(listener)

    def turn(self, now: dt.datetime, *, is_deaf: bool) -> float:
        """Let the agent act once; how many seconds to wait until its next turn. Never raises an ``Exception``."""
        try:
            done = self.agent.run_once(now)
            seconds = self.agent.pause(done, is_deaf=is_deaf).total_seconds()
            self._failures = 0
        except Exception as error:
            seconds = self._after(error, self._failures)
            self._failures += 1
        self.turns += 1
        return seconds

    def _after(self, error: Exception, failures: int) -> float:
        level = logging.WARNING if failures < 3 else logging.ERROR
        logger.log(level, "%s: %s: %s", self.agent.name, type(error).__name__, error, exc_info=failures == 0)
        with contextlib.suppress(Exception):
            self.agent.interrupted()
        connections.close_all()
        # "Full jitter" (AWS Architecture Blog, 2015): many workers must not come back in step.
        wait = min(_FIRST_WAIT * 2.0**failures, _LONGEST_WAIT)
        return wait * random.uniform(0.5, 1.0)

    def _wait(self, listener: Listener | None, seconds: float) -> None:
        if seconds <= 0:
            return
        if listener is None:
            self._stop_asked.wait(seconds)
        else:
            listener.wait(seconds, self._stop_asked)

    def _end(self, listener: Listener | None) -> None:
        with contextlib.suppress(Exception):
            self.agent.stop()
        if listener is not None:
            listener.close()
        connections.close_all()

    def ask_to_stop(self) -> None:
        """End after the current turn."""
        self._stop_asked.set()
        if self._listener is not None:
            self._listener.interrupt()


def stop_all(loops: Sequence[Loop], timeout: float = 5.0) -> None:
    """Ask all to end and wait for them together, at most ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    for loop in loops:
        loop.ask_to_stop()
    for loop in loops:
        loop.join(max(0.0, deadline - time.monotonic()))
