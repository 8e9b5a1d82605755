"""A worker's row and its sign of life."""

from __future__ import annotations

import datetime as dt
import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db.models import F

from taskyard.runtime import ticks
from taskyard.runtime.models import Worker
from taskyard.settings import get_settings
from taskyard.version import __version__


class Heartbeat:
    """Writes that the worker lives; a worker that was taken for lost and wakes up registers anew."""

    name = "heartbeat"
    channels: Sequence[str] = ()
    #: What the row says the process is.
    role = "worker"

    def __init__(
        self,
        worker: uuid.UUID,
        *,
        name: str,
        queues: Sequence[str] = (),
        slots: int = 0,
        children: Callable[[], Sequence[int]] = list,
        doing: Callable[[dt.datetime], Mapping[str, Any]] | None = None,
    ) -> None:
        self.worker, self.node = worker, name
        self.queues, self.slots, self.children, self.doing = list(queues), slots, children, doing
        self._stopping_at: dt.datetime | None = None

    def register(self, now: dt.datetime) -> None:
        """Write the row."""
        Worker.objects.using(get_settings().database).update_or_create(
            id=self.worker,
            defaults={
                "role": self.role, "name": self.node, "host": socket.gethostname(), "pid": os.getpid(),
                "queues": self.queues, "slots": self.slots, "children": list(self.children()), "version": __version__,
                "started_at": now, "heartbeat_at": now, "stopping_at": self._stopping_at, "pulse": self._pulse(now),
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
        said = {"heartbeat_at": now, "children": list(self.children()), "pulse": self._pulse(now)}
        if not rows.update(beats=F("beats") + 1, **said):
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

    def _pulse(self, now: dt.datetime) -> dict[str, Any]:
        return {**(self.doing(now) if self.doing is not None else {}), "agents": ticks.ticks()}


class SchedulerHeartbeat(Heartbeat):
    """That of a process which carries agents and takes no jobs."""

    role = "scheduler"
