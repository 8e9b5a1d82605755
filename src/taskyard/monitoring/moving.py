"""Whether a process is moving: a pure rule about what its row says."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Mapping

from taskyard.monitoring.words import duration
from taskyard.runtime.ticks import Tick

#: An agent that is so much later for its next turn than it meant to be does not come out of the one it is in.
STALLED = dt.timedelta(seconds=60)
#: What a worker's event loop is called among its agents.
CONSUMER = "consumer"
#: So many times as long a worker may leave jobs alone for which it has slots: their messages may be lost, and are
#: published again within a minute.
_CLAIMS_TAKE = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """One row of :class:`~taskyard.runtime.models.Worker`, with its pulse taken apart."""

    id: uuid.UUID
    role: str
    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    slots: int
    version: str
    started_at: dt.datetime
    heartbeat_at: dt.datetime
    stopping_at: dt.datetime | None = None
    agents: Mapping[str, Tick] = dataclasses.field(default_factory=dict)
    #: When a heartbeat last saw that a job had begun; None if none has.
    claimed_at: dt.datetime | None = None
    in_hand: int = 0
    is_connecting: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether it would take another job now."""
        return self.role == "worker" and not self.is_connecting and self.in_hand < self.slots


def troubles(
    process: Process,
    now: dt.datetime,
    *,
    silent_after: dt.timedelta,
    stalled_after: dt.timedelta = STALLED,
    agents: Collection[str] | None = None,
    is_waited_for: bool = False,
) -> list[str]:
    """Why a process does not move, as sentences without their end; none if it does.

    ``agents``: judge these alone. ``is_waited_for``: jobs have stood for it in the broker for :func:`claims_take`.
    An agent whose turns end in errors moves: starting its process again would not mend what is in its way.
    """
    silence = now - process.heartbeat_at
    if silence > silent_after:
        return [f"no heartbeat for {duration(silence)}: it is frozen or gone, or cannot reach the database"]
    if process.stopping_at is not None:
        # It is given its time by SHUTDOWN_GRACE, and ends itself.
        return []
    found = []
    for name, tick in process.agents.items():
        # As of the heartbeat that brought it, by the same clock.
        late = process.heartbeat_at - tick.next_at
        is_away = name == CONSUMER and process.is_connecting
        if late > stalled_after and not is_away and (agents is None or name in agents):
            what = "event loop" if name == CONSUMER else f"{name}'s thread"
            found.append(f"its {what} is stuck: its turn should have ended {duration(now - tick.next_at)} ago")
    idle = now - (process.claimed_at or process.started_at)
    if agents is None and is_waited_for and process.is_idle and idle > claims_take(stalled_after):
        found.append(f"it has begun no job for {duration(idle)}, with free slots, while jobs of its queues wait for it")
    return found


def claims_take(stalled_after: dt.timedelta) -> dt.timedelta:
    """How long a job may stand in the broker though a slot is free."""
    return _CLAIMS_TAKE * stalled_after
