"""How much of a queue stands in the broker: a pure rule."""

from __future__ import annotations

import dataclasses

#: The window holds about this much work.
HALF_A_SECOND = 0.5
#: Where there are tenants: with what a worker has in hand and the time until it is fed, a newcomer's job is to start
#: half a second after those that run.
SHARED_SECONDS = 0.35
#: Below this run time a slot is given two messages, so that it never waits for the next.
_SHORT_SECONDS = 0.25

#: Work of one message that several jobs share, and the most of them.
_SHARED_SECONDS = 0.02
_MOST_SHARED = 16

#: A rate is measured over at least this long.
SHORTEST_LOOK_SECONDS = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class Demand:
    """What is known about the consumers of one queue."""

    #: Slots of live workers that consume it.
    slots: int
    #: Jobs taken out of the window per second, as measured lately.
    rate: float


#: Nobody consumes it.
NO_DEMAND = Demand(0, 0.0)


def target(demand: Demand, *, unattended: int, most: int, seconds: float = HALF_A_SECOND) -> int:
    """How many messages of a queue should be in the broker.

    About so many ``seconds`` of work at the measured rate; at least one for each slot, two where jobs are short, so
    that no slot idles; ``unattended`` while no worker is registered, because one may be about to; never more than
    ``most``.
    """
    if demand.slots == 0:
        return min(unattended, most)
    per_slot = 2 if demand.rate / demand.slots > 1 / _SHORT_SECONDS else 1
    return max(1, min(most, max(round(demand.rate * seconds), per_slot * demand.slots)))


def together(demand: Demand) -> int:
    """How many jobs may share a message: what a slot gets through in a fiftieth of a second.

    Where jobs take milliseconds, a broker, and the worker that reads from it, would else spend more time on the
    messages than the jobs need.
    """
    if demand.slots == 0:
        return 1
    return max(1, min(_MOST_SHARED, int(demand.rate / demand.slots * _SHARED_SECONDS)))


def least(queued: int) -> int:
    """The room up to which it is not worth a statement: a third of what still stands there.

    So a window of a thousand is filled by some hundreds at a time, and one of two as soon as one is gone.
    """
    return queued // 3


def next_rate(rate: float, taken: int, seconds: float, *, ran_dry: bool) -> float:
    """The measured rate after ``taken`` jobs left the window in ``seconds``.

    A window that ran dry says only that the rate is higher than what was fed: it doubles. Otherwise old and new are
    averaged, so that one slow job does not close the window. What happened in a moment says nothing of a second: one
    job taken within a hundredth is not a hundred a second.
    """
    seen = taken / max(seconds, SHORTEST_LOOK_SECONDS)
    if ran_dry and taken:
        return max(rate * 2, seen)
    return (rate + seen) / 2 if seconds >= SHORTEST_LOOK_SECONDS else rate
