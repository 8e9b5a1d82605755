"""A model broker: it keeps the publisher's contract and nothing else, like a real one on a bad day."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence

from taskyard.outbox.outgoing import Outgoing
from tests.simulation.world import Process, World


@dataclasses.dataclass(frozen=True)
class Message:
    """What a worker gets: where the row is, nothing more."""

    job: uuid.UUID
    task: str
    queue: str


class Broker:
    """Holds messages until somebody takes them, unless it loses them, and perhaps hands one out again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queues: dict[str, list[Message]] = {"high": [], "low": []}
        self.away_until = 0.0
        #: Called when there is something to take.
        self.ring: Callable[[], None] = lambda: None

    def put(self, message: Message) -> None:
        """A message arrives; perhaps later, perhaps twice, perhaps not at all."""
        world = self.world
        if world.happens(world.rates.lose):
            world.count("messages lost")
            return
        for _ in range(2 if world.happens(world.rates.repeat) else 1):
            wait = world.rng.uniform(0.1, 4) if world.happens(world.rates.delay) else 0.002
            world.at(wait, None, "a message arrives", lambda: self._arrive(message))

    def _arrive(self, message: Message) -> None:
        self.queues[message.queue].append(message)
        self.ring()

    def take(self, queue: str) -> Message | None:
        """Hand out a message, not always the first."""
        waiting = self.queues[queue]
        if not waiting or self.away_until > self.world.now:
            return None
        place = self.world.rng.randrange(len(waiting)) if self.world.happens(self.world.rates.reorder) else 0
        return waiting.pop(place)

    def give_back(self, message: Message) -> None:
        """A consumer is gone without acknowledging it."""
        self.world.at(self.world.rng.uniform(0.1, 3), None, "a message comes back", lambda: self.put(message))

    def flush(self) -> None:
        """Everything is forgotten."""
        for waiting in self.queues.values():
            self.world.counts["messages lost"] = self.world.counts.get("messages lost", 0) + len(waiting)
            waiting.clear()


class Publisher:
    """One process's connection to the broker: the contract of ``taskyard.outbox.outgoing.Publisher``."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self.broker, self.process, self.world = broker, process, broker.world

    @property
    def rows_are_messages(self) -> bool:
        """By the plan."""
        return self.world.plan.rows_are_messages

    def publish(self, batch: Sequence[Outgoing], *, together: int = 1) -> Sequence[Outgoing]:
        """The part that was not confirmed; some of that may have arrived all the same."""
        arrived, confirmed = self._fate(len(batch))
        for out in batch[:arrived]:
            self.broker.put(Message(out.id, out.task, out.queue))
        # Workers may be faster than the broker's answer.
        self.world.pass_by("published")
        return batch[confirmed:]

    def publish_in_full(self, batch: Sequence[tuple[Outgoing, str, str]]) -> Sequence[Outgoing]:
        """To a program that is not ours: arriving is all there is to it."""
        arrived, confirmed = self._fate(len(batch))
        self.world.oracle.handed_over.update(out.id for out, _, _ in batch[:arrived])
        return [out for out, _, _ in batch[confirmed:]]

    def announce(self, batch: Sequence[Outgoing]) -> None:
        """Rows that are messages need no broker to ring the bell."""
        if self.rows_are_messages:
            self.broker.ring()

    def _fate(self, size: int) -> tuple[int, int]:
        world = self.world
        world.pass_by("publish")
        if self.broker.away_until > world.now:
            return 0, 0
        if world.happens(world.rates.refuse):
            world.count("batches refused")
            return (part := world.rng.randrange(size), part)
        if world.happens(world.rates.half):
            world.count("batches not confirmed")
            arrived = world.rng.randint(0, size)
            return arrived, world.rng.randint(0, arrived)
        return size, size
