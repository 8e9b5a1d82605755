"""A worker's row and its sign of life."""

from __future__ import annotations

import datetime as dt
import os
import socket
import uuid
from collections.abc import Callable, Sequence

from django.db.models import F

from taskyard.runtime.models import Worker
from taskyard.settings import get_settings
from taskyard.version import __version__


class Heartbeat:
    """Writes that the worker lives; a worker that was taken for lost and wakes up registers anew."""

    name = "heartbeat"
    channels: Sequence[str] = ()

    def __init__(
        self, worker: uuid.UUID, *, name: str, queues: Sequence[str], slots: int, children: Callable[[], Sequence[int]]
    ) -> None:
        self.worker, self.node = worker, name
        self.queues, self.slots, self.children = list(queues), slots, children
        self._stopping_at: dt.datetime | None = None

    def register(self, now: dt.datetime) -> None:
        """Write the row."""
        Worker.objects.using(get_settings().database).update_or_create(
            id=self.worker,
            defaults={
                "name": self.node, "host": socket.gethostname(), "pid": os.getpid(), "queues": self.queues,
                "slots": self.slots, "children": list(self.children()), "version": __version__, "started_at": now,
                "heartbeat_at": now, "stopping_at": self._stopping_at,
            },
        )  # fmt: skip

    def announce_stop(self, now: dt.datetime) -> None:
        """Say that it takes nothing new."""
        self._stopping_at = now
        rows = Worker.objects.using(get_settings().database).filter(id=self.worker)
        rows.update(stopping_at=self._stopping_at)

    def run_once(self, now: dt.datetime) -> int:
        """One beat."""
        rows = Worker.objects.using(get_settings().database).filter(id=self.worker)
        if not rows.update(beats=F("beats") + 1, heartbeat_at=now, children=list(self.children())):
            self.register(now)
        return 1

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """As set."""
        return get_settings().heartbeat

    def interrupted(self) -> None:
        """The next beat says it all."""

    def stop(self) -> None:
        """Leave: the row goes, and with it the claim on queued jobs in hand."""
        Worker.objects.using(get_settings().database).filter(id=self.worker).delete()
