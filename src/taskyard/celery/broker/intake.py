"""What a consumer takes in: where messages land for it, how many it may have, which it has in hand."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import select
import socket
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from taskyard.celery.broker.bindings import Bound

#: Most messages lying undelivered for one channel; also the limit where there is no prefetch limit.
MOST_UNDELIVERED = 100

_tags = itertools.count(1)


class Bell:
    """Wakes one waiting thread or event loop from any other thread; rings in between count as one."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._has_rung = False
        weakref.finalize(self, _close_both, self._reader, self._writer).atexit = False

    def fileno(self) -> int:
        """For selectors; readable once rung."""
        return self._reader.fileno()

    def ring(self) -> None:
        """Wake; what was written before is seen by whoever wakes up."""
        if not self._has_rung:
            self._has_rung = True
            with contextlib.suppress(OSError):
                self._writer.send(b"\0")

    def clear(self) -> None:
        """Silence it; look at what it rang for only after that."""
        with contextlib.suppress(OSError):
            self._reader.recv(4096)
        self._has_rung = False

    def wait(self, seconds: float | None) -> bool:
        """Whether it rang within that time (None: wait for ever)."""
        has_rung = bool(select.select([self._reader], [], [], seconds)[0])
        if has_rung:
            self.clear()
        return has_rung

    def close(self) -> None:
        """Later rings are ignored."""
        _close_both(self._reader, self._writer)


def _close_both(reader: socket.socket, writer: socket.socket) -> None:
    reader.close()
    writer.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A queue some consumer reads."""

    consumer_tag: str
    queue: str
    no_ack: bool
    #: Deleted when its consumer leaves (``auto_delete``, ``exclusive``).
    is_transient: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way to a consumer: a row of the message table, or a queued job."""

    consumer_tag: str
    raw: dict[str, Any]
    message_id: int | None = None
    job_id: uuid.UUID | None = None
    tag: str = dataclasses.field(default_factory=lambda: str(next(_tags)))


class Receiver(Protocol):
    """Whom the poller hands what it fetched."""

    def accept(self, source: Source, delivery: Delivery) -> bool:
        """Take it in; False if nobody wants it any more."""
        ...


class Mailbox:
    """One kombu connection's side: what has arrived for it, and what it declared."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.arrived: deque[tuple[Intake, Delivery]] = deque()
        self.bound: dict[tuple[str, str, str], Bound] = {}

    def bindings(self) -> list[Bound]:
        """All that was declared here; a copy, because threads read it."""
        return list(self.bound.values())

    def next(self) -> Delivery | None:
        """The next delivery whose consumer is still there."""
        while self.arrived:
            intake, delivery = self.arrived.popleft()
            if intake.hand_over(delivery):
                return delivery
        return None

    def close(self) -> None:
        """No more deliveries."""
        self.arrived.clear()
        self.bell.close()


class Intake:
    """One channel's side: the queues it consumes, its prefetch limit, what it has in hand. Safe from any thread."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        #: Most messages in hand at once; 0: no limit.
        self.prefetch = 0
        self._sources: dict[str, Source] = {}
        self._held: dict[str, Delivery] = {}
        self._undelivered: dict[str, Delivery] = {}
        # Re-entrant: a channel's finalizer may run wherever the garbage collector does.
        self._lock = threading.RLock()

    def add(self, source: Source) -> None:
        """Start to take in for a consumer."""
        with self._lock:
            self._sources[source.consumer_tag] = source

    def sources(self) -> list[Source]:
        """What it consumes now."""
        with self._lock:
            return list(self._sources.values())

    def room(self) -> int:
        """How many messages it may be given now."""
        with self._lock:
            if not self._sources:
                return 0
            room = MOST_UNDELIVERED - len(self._undelivered)
            return max(0, min(room, self.prefetch - len(self._held)) if self.prefetch else room)

    def accept(self, source: Source, delivery: Delivery) -> bool:
        """Take a delivery in; False if its consumer has left meanwhile."""
        with self._lock:
            if source.consumer_tag not in self._sources:
                return False
            self._undelivered[delivery.tag] = delivery
            if not source.no_ack:
                self._held[delivery.tag] = delivery
        self.mailbox.arrived.append((self, delivery))
        self.mailbox.bell.ring()
        return True

    def hold(self, delivery: Delivery) -> None:
        """Keep in hand what was fetched without a consumer."""
        with self._lock:
            self._held[delivery.tag] = delivery

    def hand_over(self, delivery: Delivery) -> bool:
        """Mark as delivered; False if it was taken back before."""
        with self._lock:
            return self._undelivered.pop(delivery.tag, None) is not None

    def settle(self, tag: str) -> Delivery | None:
        """Let go of one; None if it is not in hand (any more)."""
        with self._lock:
            return self._held.pop(tag, None)

    def held(self) -> list[Delivery]:
        """Everything in hand: its lease is renewed."""
        with self._lock:
            return list(self._held.values())

    def is_idle(self) -> bool:
        """Whether it neither consumes nor holds anything."""
        with self._lock:
            return not self._sources and not self._held

    def remove(self, consumer_tag: str) -> tuple[Source | None, list[Delivery]]:
        """A consumer leaves: its source, and what it was not yet given."""
        with self._lock:
            source = self._sources.pop(consumer_tag, None)
            undelivered = [d for d in self._undelivered.values() if d.consumer_tag == consumer_tag]
            for delivery in undelivered:
                del self._undelivered[delivery.tag]
            return source, [d for d in undelivered if self._held.pop(d.tag, None)]

    def empty(self) -> list[Delivery]:
        """Let go of everything in hand."""
        with self._lock:
            given_back = list(self._held.values())
            self._held.clear()
            for delivery in given_back:
                self._undelivered.pop(delivery.tag, None)
            return given_back

    def close(self) -> list[Delivery]:
        """Take in nothing more; what was in hand."""
        with self._lock:
            self._sources.clear()
        return self.empty()


def job_ids(deliveries: Iterable[Delivery]) -> list[uuid.UUID]:
    """Those of jobs."""
    return [d.job_id for d in deliveries if d.job_id is not None]


def message_ids(deliveries: Iterable[Delivery]) -> list[int]:
    """Those of rows of the message table."""
    return [d.message_id for d in deliveries if d.message_id is not None]
