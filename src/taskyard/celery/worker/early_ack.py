"""Acknowledges long-running jobs early: the row carries them, not the broker.

RabbitMQ closes the channel of a consumer that holds a message for 30 minutes, and Redis hands it out again after its
visibility time-out. Acknowledging would bring the next message behind the long job, so the prefetch count goes down
with it until the job ends.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from celery import bootsteps
from celery.worker import state as worker_state

from taskyard.settings import get_settings

_EVERY_SECONDS = 5.0


class EarlyAck(bootsteps.StartStopStep):
    """A timer of the consumer."""

    requires: ClassVar[tuple[str, ...]] = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._entry: Any = None
        #: Requests acknowledged early, by id: while they run the prefetch count is lower by their number.
        self._early: dict[str, Any] = {}

    def start(self, parent: Any) -> None:
        """Look every few seconds."""
        self._early.clear()
        self._entry = parent.timer.call_repeatedly(_EVERY_SECONDS, self.look, (parent,))

    def stop(self, parent: Any) -> None:
        """The connection is gone."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    def look(self, parent: Any) -> None:
        """Acknowledge what runs long; give the slot back for what has ended."""
        limit = get_settings().acknowledge_after.total_seconds()
        active = {request.id: request for request in tuple(worker_state.active_requests)}
        for request_id in [known for known in self._early if known not in active]:
            del self._early[request_id]
            parent.qos.increment_eventually(1)
        for request in active.values():
            is_long = request.time_start is not None and time.time() - request.time_start >= limit
            if is_long and not request.acknowledged and hasattr(request, "job_id"):
                # A prefetch count of zero would mean "unlimited": the last slot keeps its message.
                if parent.qos.value > 1:
                    self._early[request.id] = request
                    parent.qos.decrement_eventually(1)
                request.acknowledge()
