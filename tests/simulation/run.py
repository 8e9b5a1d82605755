"""From a seed to a verdict."""

from __future__ import annotations

import dataclasses
import hashlib
import types
import uuid
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from taskyard import events
from taskyard.celery.broker import job_rows
from taskyard.celery.worker import settler
from taskyard.execution import rescuer
from taskyard.execution.claim import Claim
from taskyard.execution.settle import Effects, settle
from taskyard.jobs import ids, scribe
from taskyard.outbox.models import QueueSetting, TenantSetting
from taskyard.runtime import loop
from tests.simulation.broker import Broker
from tests.simulation.database import Database
from tests.simulation.oracle import Intent, Violated
from tests.simulation.programs import people
from tests.simulation.worker import Scribe, WorkerProcess
from tests.simulation.world import BOUND_SECONDS, EPOCH, World


@dataclasses.dataclass
class Result:
    """What became of a seed."""

    seed: int
    violation: str | None
    counts: dict[str, int]
    seconds: float
    trace: list[tuple[Any, ...]]

    def digest(self) -> str:
        """The same for the same history."""
        return hashlib.sha256("\n".join(map(repr, self.trace)).encode()).hexdigest()

    def story(self) -> str:
        """The history, for people."""
        return "\n".join(
            f"{moment:9.3f} {'  ' * depth}{mark or ' '} {who}: {what}" for moment, depth, mark, who, what in self.trace
        )


class Simulator:
    """Runs worlds one after the other in one database."""

    def __init__(self) -> None:
        self.database = Database()
        self.world: World | None = None
        self._put_in_place()

    def run(self, seed: int) -> Result:
        """One world, from its beginning until everything has ended."""
        world = self.world = World(seed, self.database)
        world.use_settings()
        ids._last = 0
        violation = None
        try:
            _play(world)
        except Violated as broken:
            violation = str(broken)
        except Exception as error:  # whatever the code under test lets out is a finding as well
            violation = f"{type(error).__name__}: {error}"
        counts = {**world.counts, "jobs": len(world.oracle.records), "overlaps of fenced bodies": world.oracle.overlaps}
        return Result(seed, violation, counts, world.now, world.trace)

    def _put_in_place(self) -> None:
        """The world's clock and dice where the core reads the machine's, and the oracle's ear beside the settles."""
        timezone.now = lambda: self._now().clock()
        start = EPOCH.timestamp()
        ids.time = types.SimpleNamespace(time_ns=lambda: int((start + self._now().now) * 1e9))
        ids.os = types.SimpleNamespace(urandom=lambda size: self._now().rng.randbytes(size))
        loop.random = types.SimpleNamespace(uniform=lambda low, high: self._now().rng.uniform(low, high))
        job_rows.worker_id = lambda: self._now().process.id
        scribe._scribe = Scribe()
        rescuer.settle = self._heard(settle, "rescuer")
        settler.settle = self._heard(settle, "settler")
        events.worker_lost.connect(self._taken_for_lost)

    def _now(self) -> World:
        assert self.world is not None
        return self.world

    def _taken_for_lost(self, *, worker_id: uuid.UUID, **_: Any) -> None:
        world = self._now()
        looked_at, beats = world.process.look
        world.oracle.rescued(worker_id, beats, looked_at)

    def _heard(self, real: Callable[..., bool], by: str) -> Callable[..., bool]:
        def settle_aloud(owned: Claim, outcome: Any, now: Any, effects: Effects | None = None) -> bool:
            world = self._now()
            meant = world.intent
            if by == "rescuer":
                self._taken_for_lost(worker_id=owned.worker)
                world.count("jobs rescued")
            intent = Intent("settle", owned.id, owned.token, outcome, meant.by or by)
            with world.meaning(intent):
                answer = real(owned, outcome, now, effects)
            world.oracle.settled(intent, answer)
            return answer

        return settle_aloud


def _play(world: World) -> None:
    broker = Broker(world)
    workers: dict[str, WorkerProcess] = {}

    def start(number: int, generation: int) -> None:
        name = f"worker-{number}.{generation}"
        slots, carries_agents = world.plan.slots[number], world.plan.carries_agents[number]
        worker = workers[str(number)] = WorkerProcess(world, broker, name, slots=slots, carries_agents=carries_agents)
        worker.restart = lambda: world.at(
            world.rng.uniform(0.2, 2), None, f"{name} is replaced", lambda: start(number, generation + 1)
        )

    def ring() -> None:
        for worker in workers.values():
            world.at(world.rng.uniform(0.001, 0.02), worker, "takes", worker.take)

    broker.ring = ring
    if world.seed % 3:
        # With limits every queue is fed fairly, and by one feeder.
        TenantSetting.objects.limit("globex", weight=3, max_running=1)
        TenantSetting.objects.limit("acme", rate=5)
    for number in range(len(world.plan.slots)):
        start(number, 0)
    people(world)
    _faults(world, broker, workers)
    world.run_until(world.plan.seconds)
    _heal(world, broker)
    world.run_to_rest(world.now + BOUND_SECONDS)
    world.oracle.compare()


def _faults(world: World, broker: Broker, workers: dict[str, WorkerProcess]) -> None:
    plan, rng = world.plan, world.rng
    timeout = plan.settings["WORKER_TIMEOUT"].total_seconds()

    def one() -> WorkerProcess:
        # One that has something to lose, if there is one.
        busy = [name for name in sorted(workers) if workers[name].hands]
        return workers[rng.choice(busy or sorted(workers))]

    def freeze() -> None:
        one().frozen_until = world.now + timeout * rng.uniform(0.3, 2.2)

    def cut() -> None:
        one().cut_until = world.now + timeout * rng.uniform(0.1, 2.2)

    def outage() -> None:
        world.down_until = world.now + rng.uniform(0.3, 8)

    def broker_outage() -> None:
        broker.away_until = world.now + rng.uniform(0.5, 8)

    def stop() -> None:
        worker = one()
        world.at(0.0, worker, "is asked to stop", worker.stop)

    for many, label, fault in (
        (plan.kills, "kill", lambda: one().die()), (plan.freezes, "freeze", freeze), (plan.cuts, "cut off", cut),
        (plan.outages, "no database", outage), (plan.flushes, "flush", broker.flush),
        (plan.broker_outages, "no broker", broker_outage), (plan.stops, "stop", stop),
    ):  # fmt: skip
        for _ in range(many):
            world.at(rng.uniform(0.5, plan.seconds), None, label, fault)


def _heal(world: World, broker: Broker) -> None:
    """No fault strikes any more. Who stands still or is cut off at that moment stays so until its time is over."""
    world.note("!", "faults have stopped", None)
    world.is_storm = False
    world.down_until = broker.away_until = world.now
    QueueSetting.objects.resume(["high", "low", "outside"])
