"""One world: virtual time, processes that take turns, and faults; everything follows from one seed.

There is one thread and one database connection. A program runs from one event to the next without being interrupted,
except at the statements it makes: there it may die, be told that the database is gone, or stand still while others go
on. Who stands still later goes on before whoever was stopped earlier, because both are on one stack.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import heapq
import uuid
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from django.db.utils import OperationalError

from taskyard.settings import get_settings
from tests.simulation import jobs, plan
from tests.simulation.database import Database
from tests.simulation.oracle import Intent, Oracle, Violated

EPOCH = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
_EPOCH_SECONDS = EPOCH.timestamp()
#: Once faults have stopped, everything ends within this many seconds of virtual time. The sweep waits longest: a
#: message that got lost again and again is published again after a minute at most, while there are idle slots.
BOUND_SECONDS = 600.0
#: Agents make most of the statements; the few that decide about a job are struck so many times more often.
_WEIGHT = {"report": 4, "claim": 8, "settle": 8, "settler": 8, "enqueue": 8, "cancel": 24, "retry": 24, "discard": 24}
#: Turns that stand still at once, one within the other.
_DEEPEST = 3


class Crash(BaseException):
    """The program dies here; with ``is_whole`` the whole process, else only the thread's child."""

    def __init__(self, *, is_whole: bool) -> None:
        self.is_whole = is_whole


class Process:
    """An operating system's process: it can die, stand still, lose the database, and have a wrong clock."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.is_alive = True
        self.frozen_until = 0.0
        self.cut_until = 0.0
        self.skew = world.rng.uniform(-world.plan.skew, world.plan.skew) if world.plan.skew else 0.0
        self.id = uuid.UUID(int=world.rng.getrandbits(128))

    def now(self) -> dt.datetime:
        """Its clock."""
        return EPOCH + dt.timedelta(seconds=self.world.now + self.skew)

    def die(self) -> None:
        """Everything in memory is gone."""
        self.is_alive = False

    def crashed(self, crash: Crash) -> None:
        """One of its threads died."""
        self.die()


class World:
    """Everything there is in one seed."""

    def __init__(self, seed: int, database: Database) -> None:
        self.seed, self.database = seed, database
        self.rng = Random(seed)
        self.plan = plan.draw(self.rng)
        self.rates = self.plan.rates
        self.now = 0.0
        self.process: Process | None = None
        self.intent: Intent | None = None
        self.is_storm = True
        self.down_until = 0.0
        self.trace: list[tuple[Any, ...]] = []
        self.counts: dict[str, int] = {}
        self.oracle = Oracle(
            lambda: self.now + _EPOCH_SECONDS,
            poison_after=self.plan.settings["POISON_AFTER"],
            worker_timeout=self.plan.settings["WORKER_TIMEOUT"].total_seconds(),
            slack=self.plan.skew + 1e-6,
        )
        self._heap: list[tuple[float, int, Process | None, str, Callable[[], Any], bool]] = []
        self._number = 0
        self._to_come = 0
        self._depth = 0
        self._jobs = 0
        database.wipe()
        database.guard, database.committed = self._guard, self._committed

    # -- time ----------------------------------------------------------------------------------------------------------

    def at(
        self, seconds: float, process: Process | None, label: str, action: Callable[[], Any], *, periodic: bool = False
    ) -> None:
        """Let a process do something ``seconds`` from now; None: the world itself."""
        self._number += 1
        self._to_come += not periodic
        heapq.heappush(self._heap, (self.now + seconds, self._number, process, label, action, periodic))

    def run_until(self, moment: float) -> None:
        """Let everything happen that is due by then."""
        while self._heap and self._heap[0][0] <= moment:
            self._next()
        self.now = max(self.now, moment)

    def run_to_rest(self, bound: float) -> None:
        """Until nothing is left to come but turns of agents that find nothing to do."""
        while self._to_come or self.oracle.unfinished:
            if self._heap[0][0] > bound:
                stuck = [(one.state, one.id, one.starts) for one in self.oracle.waiting_for()]
                raise Violated(f"not at rest {BOUND_SECONDS:.0f} s after the last fault: {stuck}")
            self._next()

    def _next(self) -> None:
        moment, number, process, label, action, periodic = heapq.heappop(self._heap)
        if process is not None and process.frozen_until > moment and process.is_alive:
            heapq.heappush(self._heap, (process.frozen_until, number, process, label, action, periodic))
            return
        self._to_come -= not periodic
        if process is not None and not process.is_alive:
            return
        self.now = max(self.now, moment)
        self.note("", label, process)
        self._step(process, action)

    def _step(self, process: Process | None, action: Callable[[], Any]) -> None:
        before = self.process, self.intent
        self.process, self.intent = process, None
        try:
            action()
        except Crash as crash:
            self.database.reset()
            if process is not None and process.is_alive:
                self.note("!", "dies" if crash.is_whole else "loses a child", process)
                process.crashed(crash)
        finally:
            self.process, self.intent = before

    def stall(self, seconds: float) -> None:
        """The current program stands still; all others go on."""
        process, intent = self.process, self.intent
        self.note("!", f"stands still for {seconds:.2f} s", process)
        self._depth += 1
        try:
            self.process, self.intent = None, None
            self.run_until(self.now + seconds)
            while process is not None and process.is_alive and process.frozen_until > self.now:
                self.run_until(process.frozen_until)
        finally:
            self._depth -= 1
            self.process, self.intent = process, intent
        if process is not None and not process.is_alive:
            raise Crash(is_whole=True)
        self.note("", "goes on", process)

    # -- faults at statements ------------------------------------------------------------------------------------------

    def _guard(self, place: str, sql: str, may_wait: bool) -> None:
        process = self.process
        if process is None:
            return
        if place == "before" and (process.cut_until > self.now or self.down_until > self.now):
            raise OperationalError("the database does not answer")
        if not self.is_storm:
            return
        rates, chance = self.rates, self.rng.random()
        if self.intent is not None:
            chance /= _WEIGHT.get(self.intent.kind, 1)
        if chance < rates.crash:
            self.note("!", f"crash {place} {sql[:40]}", process)
            raise Crash(is_whole=self.rng.random() < 0.5)
        if chance < rates.crash + rates.fail:
            self.note("!", f"connection lost {place} {sql[:40]}", process)
            raise OperationalError(f"the connection was lost {place} the statement")
        if may_wait and self._depth < _DEEPEST and chance < rates.crash + rates.fail + rates.stall:
            self.count("stalls")
            self.stall(self.rng.choice((0.05, 0.5, 3.0, 9.0)) * self.rng.uniform(0.5, 1.5))

    def pass_by(self, what: str) -> None:
        """A place that is no statement: the program may die or stand still here."""
        rates, chance = self.rates, self.rng.random() / 8
        if self.process is None or not self.is_storm:
            return
        if chance < rates.crash:
            self.note("!", f"crash at {what}", self.process)
            raise Crash(is_whole=True)
        if self._depth < _DEEPEST and chance < rates.crash + rates.stall:
            self.stall(self.rng.choice((0.1, 1.0, 8.0)) * self.rng.uniform(0.5, 1.5))

    def _committed(self, changes: list[tuple[Any, ...]]) -> None:
        for change in changes:
            self.note("=", change, self.process)
            if change[0] != "promised":
                self.oracle.committed(change, self.intent)
        for change in changes:
            if change[0] == "promised":
                self.oracle.promised(change[1])
        if self.intent is not None:
            self.oracle.transaction_done(self.intent)

    @contextlib.contextmanager
    def meaning(self, intent: Intent) -> Iterator[Intent]:
        """What the block writes is meant."""
        before, self.intent = self.intent, intent
        try:
            yield intent
        finally:
            self.intent = before

    # -- smaller things ------------------------------------------------------------------------------------------------

    def note(self, mark: str, what: Any, process: Process | None) -> None:
        """One line of the trace."""
        self.trace.append((self.now, self._depth, mark, process.name if process else "world", what))

    def count(self, what: str) -> None:
        """For the figures."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def happens(self, rate: float) -> bool:
        """Whether a fault with that chance strikes now."""
        return self.is_storm and rate > 0 and self.rng.random() < rate

    def new_job(self, now: dt.datetime, *, is_link: bool = False) -> jobs.Spec:
        """What the next job is to be."""
        self._jobs += 1
        return jobs.draw(self.rng, self._jobs, now.timestamp(), is_link=is_link)

    def clock(self) -> dt.datetime:
        """What ``timezone.now()`` is for the code that runs."""
        return (self.process.now() if self.process else EPOCH + dt.timedelta(seconds=self.now)).astimezone(dt.UTC)

    def monotonic(self) -> float:
        """Seconds since the world began."""
        return self.now

    def use_settings(self) -> None:
        """Put the plan's settings in force."""
        from django.conf import settings

        settings.TASKYARD = self.plan.settings
        get_settings.cache_clear()
