"""How many messages a worker has in hand: one for each free slot, and a little more where jobs are short.

A message in hand behind a long job is out of the reach of idle workers, so Taskyard's workers take one for each slot.
For short jobs that is too few: a slot would wait for the broker after each of them. So this worker takes as many more
as it starts in a twentieth of a second, and gives back those that do not get their turn.
"""

from __future__ import annotations

import logging
import time
from typing import Any, ClassVar

from celery import bootsteps
from celery.worker import state as worker_state

from taskyard.celery.worker import bundle
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: How often it looks at the rate, and whether those in hand get their turn; with nothing in hand, more rarely.
_LOOK_SECONDS = 0.25
_IDLE_LOOK_SECONDS = 1.0
#: How often it looks for jobs that run long.
_LONG_SECONDS = 5.0
#: Work to have in hand beyond one message for each slot.
_AHEAD_SECONDS = 0.05
_MOST_AHEAD = 50
#: Most looks between two times of giving back.
_MOST_LOOKS = 32


def ahead(rate: float) -> int:
    """How many messages to have in hand beyond one for each slot, at ``rate`` of them a second: a pure rule."""
    return min(_MOST_AHEAD, int(rate * _AHEAD_SECONDS))


class Patience:
    """When to give back, while nothing begins: at the first look, then ever more rarely.

    What is given back may come straight back: with a prefetch multiplier above one, or where jobs were acknowledged
    early, there is room for it. It must not go to and fro all the time.
    """

    def __init__(self) -> None:
        self._looks = self._wanted = 0

    def begun(self) -> None:
        """Something got its turn."""
        self._looks = self._wanted = 0

    def is_over(self) -> bool:
        """Asked once in each look at which something waits and nothing has begun."""
        self._looks += 1
        if self._looks <= self._wanted:
            return False
        self._looks, self._wanted = 0, min(_MOST_LOOKS, max(1, 2 * self._wanted))
        return True


class Prefetch(bootsteps.StartStopStep):
    """Sets the prefetch count by what the jobs turn out to be.

    Long ones are acknowledged early: RabbitMQ closes the channel of a consumer that holds a message for 30 minutes, and
    the row carries the job. Acknowledging would bring the next message behind the long job, so the prefetch count goes
    down with it until the job ends.
    """

    requires: ClassVar[tuple[str, ...]] = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._long_look: Any = None
        self._next_look: Any = None
        self._looked_at = 0.0
        #: Requests acknowledged early, by id: while they run the prefetch count is lower by their number.
        self._early: dict[str, Any] = {}
        self._ahead = self._started = self._received = 0
        self._rate = 0.0
        self._patience = Patience()

    def start(self, parent: Any) -> None:
        """Look from time to time."""
        self._early.clear()
        self._ahead, self._started, self._rate = 0, worker_state.all_total_count[0], 0.0
        self._received = parent.received
        self._patience.begun()
        self._long_look = parent.timer.call_repeatedly(_LONG_SECONDS, self.look, (parent,))
        self._looked_at = time.monotonic()
        if _waiting(parent) is not None and _can_change(parent):
            self._next_look = parent.timer.call_after(_LOOK_SECONDS, self._adapt_on, (parent,))

    def stop(self, parent: Any) -> None:
        """The connection is gone, and with it the right to what was in hand and is not begun."""
        for entry in (self._long_look, self._next_look):
            if entry is not None:
                entry.cancel()
        self._long_look = self._next_look = None

    def _adapt_on(self, parent: Any) -> None:
        is_busy = bool(self._ahead or worker_state.reserved_requests)
        self._next_look = parent.timer.call_after(
            _LOOK_SECONDS if is_busy else _IDLE_LOOK_SECONDS, self._adapt_on, (parent,)
        )
        self.adapt(parent)

    def adapt(self, parent: Any) -> None:
        """Take more ahead, or less; with nothing begun since the last look, give back what waits."""
        count, waiting, now = worker_state.all_total_count[0], _waiting(parent), time.monotonic()
        elapsed, self._looked_at = max(_LOOK_SECONDS / 2, now - self._looked_at), now
        begun, self._started = count - self._started, count
        received, self._received = parent.received - self._received, parent.received
        # What is taken ahead is messages, and some bring several jobs.
        self._rate = (self._rate + min(begun, received) / elapsed) / 2 if begun else 0.0
        wanted = ahead(self._rate)
        # Not for every wavering of the rate: on RabbitMQ each change is a round trip.
        if wanted > self._ahead:
            parent.qos.increment_eventually(wanted - self._ahead)
            self._ahead = wanted
        elif wanted < self._ahead / 2:
            parent.qos.decrement_eventually(self._ahead - wanted)
            self._ahead = wanted
        if begun:
            self._patience.begun()
        elif waiting and self._patience.is_over():
            parent.qos.update()
            give_back(waiting)
        bundle.let_go_of_the_stuck()

    def look(self, parent: Any) -> None:
        """Acknowledge what runs long; give the slot back for what has ended."""
        limit = get_settings().acknowledge_after.total_seconds()
        active = {request.id: request for request in tuple(worker_state.active_requests)}
        for request_id in [known for known in self._early if known not in active]:
            del self._early[request_id]
            parent.qos.increment_eventually(1)
        for request in active.values():
            is_long = request.time_start is not None and time.time() - request.time_start >= limit
            if is_long and not request.acknowledged and hasattr(request, "job_ids"):
                # A prefetch count of zero would mean "unlimited": behind the last slot's job one message may be taken
                # ahead, and is published again for workers with free slots.
                if parent.qos.value > 1:
                    self._early[request.id] = request
                    parent.qos.decrement_eventually(1)
                request.acknowledge()


def _can_change(parent: Any) -> bool:
    # On RabbitMQ's quorum queues a consumer keeps the count it began with.
    return bool(parent.qos_global or parent.connection.transport.driver_type != "amqp")


def _waiting(parent: Any) -> Any:
    """What Celery keeps of requests that wait for a slot; None for pools that keep no such list."""
    semaphore = getattr(parent.controller, "semaphore", None)
    return getattr(semaphore, "_waiting", None)


def queue_of(consumer: Any) -> tuple[Any, int] | None:
    """Requests that wait for a slot of an evented prefork pool, and its number of slots; None elsewhere.

    None as well where the pool itself limits or counts what a child is handed, and would take several jobs for one.
    """
    waiting, pool = _waiting(consumer), consumer.pool
    if waiting is None or type(pool).__module__ != "celery.concurrency.prefork":
        return None
    if any(pool.options.get(name) for name in ("timeout", "soft_timeout", "maxtasksperchild")):
        return None
    return waiting, pool.num_processes


def give_back(waiting: Any) -> None:
    """Let other workers have jobs whose turn did not come here."""
    requests = [arguments[0] for _, arguments, _ in waiting]
    waiting.clear()
    # The last taken first: on Redis each goes to the head of its queue. And at once, in this order: what the event loop
    # is asked to call soon it calls in any.
    for request in reversed(requests):
        worker_state.task_ready(request)
        if not request.acknowledged:
            reject = getattr(request, "reject_now", request.message.reject_log_error)
            reject(logger, request.connection_errors, requeue=True)
            request.acknowledged = True
    logger.info("%d messages given back: every slot is busy with longer jobs", len(requests))
