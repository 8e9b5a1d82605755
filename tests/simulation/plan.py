"""What one seed decides before its world begins: sizes, settings, and which faults strike how often.

Not every fault is on in every seed ("swarm testing", Groce et al. 2012): a fault that is always there hides what only
shows without it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from random import Random
from typing import Any


@dataclasses.dataclass
class Rates:
    """Chances: at each boundary of a statement, for each message, for each batch."""

    crash: float = 0.0
    stall: float = 0.0
    fail: float = 0.0
    lose: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    refuse: float = 0.0
    #: A lost or refused connection of the broker's answer: the batch arrived, but was not confirmed.
    half: float = 0.0


@dataclasses.dataclass
class Plan:
    """One seed's world."""

    seconds: float
    transactions: int
    #: Slots of each worker; the first one always carries agents.
    slots: list[int]
    carries_agents: list[bool]
    #: Clock error of each process, drawn from this range, in seconds.
    skew: float
    #: The queued rows themselves are the messages (the database broker).
    rows_are_messages: bool
    rates: Rates
    #: Faults at a moment of their own: how many of each.
    kills: int
    freezes: int
    cuts: int
    outages: int
    flushes: int
    broker_outages: int
    stops: int
    steers: int
    settings: dict[str, Any]


def draw(rng: Random) -> Plan:
    """The plan of a seed."""
    workers = rng.choice((1, 2, 2, 2, 3))
    timeout = rng.choice((5, 5, 7))

    def some(most: int, chance: float = 0.35) -> int:
        return rng.randint(1, most) if rng.random() < chance else 0

    return Plan(
        seconds=rng.uniform(6, 9),
        transactions=rng.randint(2, 7),
        slots=[rng.randint(1, 3) for _ in range(workers)],
        carries_agents=[True, *(rng.random() < 0.6 for _ in range(workers - 1))],
        skew=rng.uniform(0.5, 3) if rng.random() < 0.15 else 0.0,
        rows_are_messages=rng.random() < 0.25,
        rates=_rates(rng),
        kills=some(2), freezes=some(2, 0.5), cuts=some(2, 0.45), outages=some(1, 0.2), flushes=some(1, 0.2),
        broker_outages=some(1, 0.2), stops=some(1, 0.2), steers=some(5, 0.7),
        settings={
            "HEARTBEAT": dt.timedelta(seconds=rng.choice((1.5, 2, 2.3))),
            "WORKER_TIMEOUT": dt.timedelta(seconds=timeout),
            "POISON_AFTER": rng.choice((2, 3)),
            "REPUBLISH_AFTER": dt.timedelta(seconds=rng.choice((1, 2, 4))),
            "WINDOW_UNATTENDED": rng.choice((1, 3, 10)),
            "RETENTION": {"succeeded": dt.timedelta(seconds=rng.choice((3, 30, 3600)))},
            "QUEUES": rng.choice((["high", "low"], ["low", "high"])),
            "HANDOVER": ["outside"],
        },
    )  # fmt: skip


def _rates(rng: Random) -> Rates:
    def rate(most: float, chance: float = 0.5) -> float:
        return rng.uniform(most / 4, most) if rng.random() < chance else 0.0

    return Rates(
        crash=rate(0.008), stall=rate(0.015), fail=rate(0.008), lose=rate(0.4), repeat=rate(0.4), delay=rate(0.5),
        reorder=rate(1.0), refuse=rate(0.3), half=rate(0.3),
    )  # fmt: skip
