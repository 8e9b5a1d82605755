"""Queues and what stands in them, by counts that stop: a backlog of millions is said to be more than ten thousand."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Iterator

from django.db.models import Min

from taskyard.jobs.models import Job, JobQuerySet
from taskyard.jobs.queries import worker_overview
from taskyard.jobs.states import LANE_DUE, LANE_LATER, LANE_OUT, State
from taskyard.settings import get_settings

#: Rows that are counted.
MOST_COUNTED = 10_000


@dataclasses.dataclass(slots=True)
class QueueGlance:
    """One queue now. Counts of due and later jobs go up to ``MOST_COUNTED + 1``: that is more than can be said."""

    name: str
    due: int = 0
    #: None: so many jobs wait for their time in all queues that nobody counted this one's.
    later: int | None = 0
    queued: int = 0
    running: int = 0
    #: Since when the oldest due job waits; None also where more than can be counted are due.
    oldest_due_at: dt.datetime | None = None
    workers: int = 0
    slots: int = 0

    @property
    def is_more_due(self) -> bool:
        """Whether more are due than were counted."""
        return self.due > MOST_COUNTED


def glance(now: dt.datetime, *, tenant: str | None = None, known: tuple[str, ...] = ()) -> list[QueueGlance]:
    """Every queue that is declared, known, has jobs or a worker; declared ones first, in their order of urgency.

    Workers and slots are everybody's; what is counted of jobs is of the jobs of whoever is looking.
    """
    declared = list(get_settings().queues)
    found = {name: QueueGlance(name) for name in [*declared, *known]}

    def queue(name: str) -> QueueGlance:
        return found.setdefault(name, QueueGlance(name))

    for name in names_of_due():
        due, oldest = _due(name, tenant)
        if due or tenant is None:
            queue(name).due, queue(name).oldest_due_at = due, oldest
    for name, state, count in _out(tenant):
        setattr(queue(name), state, count)
    for worker in worker_overview(now):
        for name in worker.queues if worker.state == "alive" else ():
            queue(name).workers, queue(name).slots = queue(name).workers + 1, queue(name).slots + worker.slots
    later = _later(tenant)
    for name in later or ():
        queue(name)
    for each in found.values():
        each.later = None if later is None else later[each.name]
    order = {name: place for place, name in enumerate(declared)}
    return sorted(found.values(), key=lambda each: (order.get(each.name, len(order)), each.name))


def _due_rows(tenant: str | None = None) -> JobQuerySet:
    return Job.objects.visible_to(tenant).filter(lane=LANE_DUE)


def names_of_due() -> Iterator[str]:
    """Queues in which something is due, of anybody's: one probe of the index for each, however long the backlog is."""
    last = ""
    while True:
        first = _due_rows().filter(queue__gt=last).order_by("queue", "-priority").values_list("queue", flat=True)[:1]
        names = list(first)
        if not names:
            return
        yield (last := names[0])


def priorities(queue: str) -> Iterator[int]:
    """Priorities in which something is due in a queue, in the same way."""
    last = 2**15 - 1
    while True:
        below = _due_rows().filter(queue=queue, priority__lt=last).order_by("-priority")
        found = list(below.values_list("priority", flat=True)[:1])
        if not found:
            return
        yield (last := found[0])


def _due(queue: str, tenant: str | None) -> tuple[int, dt.datetime | None]:
    # The index has the priority before the tenant: for one tenant each priority is asked by itself.
    parts = [{}] if tenant is None else [{"priority": priority} for priority in priorities(queue)]
    rows = [_due_rows(tenant).filter(queue=queue, **part) for part in parts]
    count = 0
    for part in rows:
        count += part.order_by()[: MOST_COUNTED + 1 - count].count() if count <= MOST_COUNTED else 0
    if not 0 < count <= MOST_COUNTED:
        return count, None
    return count, min(filter(None, (part.aggregate(first=Min("available_at"))["first"] for part in rows)), default=None)


def _out(tenant: str | None) -> list[tuple[str, str, int]]:
    rows = Job.objects.visible_to(tenant).filter(lane=LANE_OUT)[:MOST_COUNTED].values_list("queue", "state")
    counted = Counter(rows)
    states = (State.QUEUED.value, State.RUNNING.value)
    return [(name, state, count) for (name, state), count in counted.items() if state in states]


def _later(tenant: str | None) -> Counter[str] | None:
    rows = Job.objects.visible_to(None).filter(lane=LANE_LATER).order_by("available_at")
    names = list(rows.values_list("queue", "tenant")[: MOST_COUNTED + 1])
    if len(names) > MOST_COUNTED:
        return None
    return Counter(name for name, owner in names if tenant in (None, owner))
