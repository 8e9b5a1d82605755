"""A model worker: the real agents, claims and settles; Celery's consumer, pool and tracer are played.

It does what ``taskyard.celery.worker`` does around them: a claim whose answer got lost is looked for, a settle is tried
until it is decided, and a child that is gone is settled by its parent's real settler.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from billiard.exceptions import WorkerLostError
from django.db import InterfaceError, OperationalError

from taskyard.celery.broker.job_rows import JobRows
from taskyard.celery.worker import settler
from taskyard.execution.claim import Claim, Said, claim, find_claim
from taskyard.execution.outcome import Cancelled, Failed, Outcome, RetryAt, Snoozed, Succeeded, Trouble
from taskyard.execution.pruner import Pruner
from taskyard.execution.rescuer import Rescuer
from taskyard.execution.settle import Effects, settle
from taskyard.jobs import scribe
from taskyard.jobs.ids import new_id
from taskyard.jobs.rows.newjob import NewJob
from taskyard.jobs.running import RunningJob
from taskyard.outbox.feeder import Feeder
from taskyard.runtime.heartbeat import Heartbeat
from taskyard.runtime.loop import Agent, Loop
from taskyard.settings import get_settings
from tests.simulation.broker import Broker, Message, Publisher
from tests.simulation.oracle import Intent
from tests.simulation.tasks import ALL
from tests.simulation.world import Crash, Process, World

if TYPE_CHECKING:
    from tests.simulation.jobs import Spec

_GONE = (OperationalError, InterfaceError)
#: A claim that meets no database for longer is given up, as by the executor.
_LONGEST_WAIT = 5.0
#: Turns of agents are made rarer than they are, because each costs real time.
_RAREST = {"feeder": (0.2, 0.8), "rescuer": (1.2, 2.2), "heartbeat": (0.0, 0.0), "pruner": (6.0, 15.0)}


class Scribe(scribe.Scribe):
    """The real one without its thread: the world says when it writes."""

    def watch(self, job: RunningJob) -> None:
        """Reports are written by events."""


@dataclasses.dataclass(eq=False)
class Delivery:
    """A message in hand, and the child that works on it."""

    message: Message
    token: int
    is_sure: bool = True
    wait: float = 0.05
    owned: Claim | None = None
    running: RunningJob | None = None
    is_dead: bool = False


class WorkerProcess(Process):
    """A worker's main process and its children."""

    def __init__(self, world: World, broker: Broker, name: str, *, slots: int, carries_agents: bool) -> None:
        super().__init__(world, name)
        self.broker, self.slots, self.carries_agents = broker, slots, carries_agents
        self.hands: list[Delivery] = []
        self.is_stopping = False
        #: The poller's connection broke: what it took meanwhile is unknown to it.
        self.is_unsure = False
        #: What the rescuer could know of signs of life when its turn began.
        self.look: tuple[float, dict[Any, float]] = (0.0, {})
        self.heartbeat = Heartbeat(self.id, name=name, queues=["high", "low"], slots=slots, children=list)
        agents: list[Agent] = [self.heartbeat]
        if carries_agents:
            agents += [Feeder(self.id, Publisher(broker, self)), Rescuer(world.monotonic), Pruner()]
        self.loops = [Loop(agent) for agent in agents]
        world.at(0.0, self, "registers", self._register)

    def _register(self) -> None:
        try:
            self.heartbeat.register(self.now())
        except _GONE:
            # Celery's worker would not start; its supervisor starts it again.
            raise Crash(is_whole=True) from None
        for loop in self.loops:
            name, first = loop.agent.name, self.world.rng.uniform(0, 10 if loop.agent.name == "pruner" else 0.5)
            self.world.at(first, self, name, lambda loop=loop: self._turn(loop), periodic=True)
        self._poll()

    def _turn(self, loop: Loop) -> None:
        world, name = self.world, loop.agent.name
        if name == "rescuer":
            self.look = (world.oracle.clock(), dict(world.oracle.beats))
        with world.meaning(Intent(name)):
            seconds = loop.turn(self.now(), is_deaf=False)
        least, most = _RAREST[name]
        pause = max(seconds, world.rng.uniform(least, most) * (1 if world.is_storm else 3 if name == "feeder" else 1))
        world.at(pause, self, name, lambda: self._turn(loop), periodic=True)

    # -- consuming -----------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        self.take()
        self.world.at(self.world.rng.uniform(1, 2), self, "polls", self._poll, periodic=True)

    def take(self) -> None:
        """Take messages for free slots."""
        while not self.is_stopping and len(self.hands) < self.slots:
            message = self._next_message()
            if message is None:
                return
            delivery = Delivery(message, self.world.rng.getrandbits(63))
            self.hands.append(delivery)
            self._soon(delivery, 0.001, "claims", self._claim)

    def _next_message(self) -> Message | None:
        queues = get_settings().queues
        if not self.world.plan.rows_are_messages:
            return next((found for queue in queues if (found := self.broker.take(queue))), None)
        rows = JobRows("default")
        try:
            if self.is_unsure:
                rows.release_others([one.message.job for one in self.hands])
                self.is_unsure = False
            for queue in queues:
                for job, raw in rows.take(queue, 1):
                    return Message(job, raw["headers"]["task"], queue)
        except _GONE:
            self.is_unsure = True
        return None

    def _soon(self, delivery: Delivery, seconds: float, label: str, action: Any, *args: Any) -> None:
        """Something the child does."""

        def act() -> None:
            if not delivery.is_dead:
                self._in_child(delivery, action, args)

        self.world.at(seconds, self, f"{label} {delivery.message.job}", act)

    def _in_child(self, delivery: Delivery, action: Any, args: Sequence[Any]) -> None:
        try:
            action(delivery, *args)
        except Crash as crash:
            if crash.is_whole or not self.is_alive:
                raise
            self.world.database.reset()
            self.world.note("!", f"loses the child of {delivery.message.job}", self)
            self.child_lost(delivery, WorkerLostError("killed"))

    # -- a child -------------------------------------------------------------------------------------------------------

    def _claim(self, delivery: Delivery) -> None:
        job, options = delivery.message.job, ALL[delivery.message.task].options
        try:
            with self.world.meaning(Intent("claim", job, delivery.token)):
                now, until_start = self.now(), options.unique_until == "start"
                said = Said(delivery.message.task, None, None, ("high", "low"))
                owned = claim(job, delivery.token, self.id, now, release_lock=until_start, said=said)
            if owned is None and not delivery.is_sure:
                owned = find_claim(job, delivery.token)
        except _GONE as error:
            delivery.is_sure = False
            delivery.wait *= 2
            if delivery.wait > _LONGEST_WAIT:
                self.child_lost(delivery, error)
            else:
                self._soon(delivery, delivery.wait, "claims again", self._claim)
            return
        if owned is None:
            self._free(delivery)
        else:
            self._begin(delivery, owned)

    def _begin(self, delivery: Delivery, owned: Claim) -> None:
        delivery.owned, delivery.wait = owned, 0.05
        if owned.expires_at is not None and owned.expires_at <= self.now():
            self._settle(delivery, Cancelled("expired"), "policy", [])
            return
        self.world.oracle.body_began(owned.id, owned.token, owned.kwargs, owned.checkpoint)
        record = self.world.oracle.records[owned.id]
        act = record.spec.act(owned.attempt)
        label = "dies in" if act.kind == "die" else "ends"
        self._soon(delivery, act.seconds, label, self._end, record.spec)
        if act.seconds > 0.3:
            delivery.running = RunningJob(owned.id, owned.task, token=owned.token, attempt=owned.attempt)
            self._soon(delivery, act.seconds * self.world.rng.uniform(0.1, 0.9), "saves in", self._save)

    def _save(self, delivery: Delivery) -> None:
        running = delivery.running
        assert running is not None
        running.checkpoint = running.token
        with self.world.meaning(Intent("report", running.id, running.token)):
            scribe.scribe()._write(running)
        if not running._dirty:
            self.world.oracle.heard(running.id, running.token, is_fenced=running._fenced)

    def _end(self, delivery: Delivery, spec: Spec) -> None:
        owned = delivery.owned
        assert owned is not None
        act, now = spec.act(owned.attempt), self.now()
        if act.kind == "die":
            raise Crash(is_whole=False)
        self.world.oracle.body_ended(owned.id, owned.token)
        outcome: Outcome
        match act.kind:
            case "return":
                outcome = Succeeded("null")
            case "snooze":
                outcome = Snoozed(now + dt.timedelta(seconds=self.world.rng.uniform(0.1, 2)))
            case "discard":
                outcome = Cancelled("discarded")
            case _:
                outcome = self._by_policy(owned, spec)
        links = [self.world.new_job(now, is_link=True) for _ in range(act.links)]
        self._settle(delivery, outcome, "policy", links)

    def _by_policy(self, owned: Claim, spec: Spec) -> Outcome:
        trouble, policy = Trouble("Oops", "as planned"), spec.task.options.retry
        if owned.attempt >= owned.max_attempts or not policy.wants(RuntimeError()):
            return Failed(trouble)
        wait = policy.wait(
            max(1, policy.max_retries - (owned.max_attempts - owned.attempt) + 1), self.world.rng.random()
        )
        return RetryAt(self.now() + wait, trouble)

    def _settle(self, delivery: Delivery, outcome: Outcome, by: str, links: list[Spec]) -> None:
        owned = delivery.owned
        assert owned is not None
        intent = Intent("settle", owned.id, owned.token, outcome, by, list(links))
        report = delivery.running.take_report() if delivery.running else {}
        effects = Effects(jobs=[_new_job(spec, owned, self.now()) for spec in links], report=report)
        try:
            with self.world.meaning(intent):
                answer = settle(owned, outcome, self.now(), effects)
        except _GONE:
            if delivery.running is not None:
                delivery.running.put_back(report)
            delivery.wait = min(delivery.wait * 2, _LONGEST_WAIT)
            if intent.has_moved:
                # It committed, and nobody told the child: the next try must be refused.
                self.world.count("ends whose answer was lost")
            self._soon(delivery, delivery.wait, "settles again", self._settle, outcome, by, links)
            return
        self.world.oracle.settled(intent, answer)
        self._free(delivery)

    def _free(self, delivery: Delivery) -> None:
        """Acknowledge, and take the next."""
        if delivery in self.hands:
            self.hands.remove(delivery)
        self.world.at(0.001, self, "takes", self.take)

    # -- children that are gone ----------------------------------------------------------------------------------------

    def child_lost(self, delivery: Delivery, error: BaseException, *, is_released: bool = False) -> None:
        """The pool noticed that a child is gone: the settler thread ends its job."""
        delivery.is_dead = True
        self.world.count("children lost")
        if delivery.owned is not None:
            self.world.oracle.body_ended(delivery.owned.id, delivery.token)
        death = settler.Death(delivery.message.job, delivery.token, None, error, is_released)
        self.world.at(
            0.05, self, f"settles the death of {death.job_id}", lambda: self._settle_death(delivery, death, 0.1)
        )

    def _settle_death(self, delivery: Delivery, death: settler.Death, wait: float) -> None:
        try:
            with self.world.meaning(Intent("settler", by="released" if death.is_released else "child-lost")):
                settler.handle(death)
        except _GONE:
            again = min(wait * 2, 5.0)
            self.world.at(wait, self, "settles a death again", lambda: self._settle_death(delivery, death, again))
            return
        self._free(delivery)

    # -- the whole process ---------------------------------------------------------------------------------------------

    def die(self) -> None:
        """Killed, children and all; a supervisor starts another."""
        if not self.is_alive:
            return
        super().die()
        self.world.count("workers killed")
        for delivery in self.hands:
            if delivery.owned is not None:
                self.world.oracle.body_ended(delivery.owned.id, delivery.token)
            if not self.world.plan.rows_are_messages:
                self.broker.give_back(delivery.message)
        self.hands.clear()
        self.restart()

    def restart(self) -> None:
        """Replaced by the next one, under another id."""

    def stop(self) -> None:
        """SIGTERM: take nothing new, give back what does not end in time."""
        self.is_stopping = True
        try:
            self.heartbeat.announce_stop(self.now())
        except _GONE:
            pass
        self.world.at(self.world.rng.uniform(0.1, 2), self, "grace is over", self._give_back)

    def _give_back(self) -> None:
        for delivery in [one for one in self.hands if one.owned is not None and not one.is_dead]:
            self.child_lost(delivery, WorkerLostError("given back"), is_released=True)
        self.world.at(1.0, self, "leaves", self._leave)

    def _leave(self) -> None:
        for loop in self.loops:
            try:
                with self.world.meaning(Intent(loop.agent.name)):
                    loop.agent.stop()
            except _GONE:
                pass
        self.die()


def _new_job(spec: Spec, owned: Claim, now: Any) -> NewJob:
    options = spec.task.options
    return NewJob(
        id=new_id(), task=spec.task.name, queue=options.queue or "", created_at=now,
        available_at=dt.datetime.fromtimestamp(spec.due_at, dt.UTC),
        kwargs=spec.kwargs, max_attempts=options.retry.max_retries + 1, parent=owned.id, root=owned.root,
        unique_key=None if spec.key is None else str(spec.key), unique_lock=spec.lock,
    )  # fmt: skip
