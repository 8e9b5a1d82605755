"""Tenants that have work, and how much: one probe of an index for each name, and counts that stop."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from taskyard.jobs.models import Job
from taskyard.jobs.pages.keyset import MOST_LOOKED
from taskyard.jobs.pages.queues import MOST_COUNTED as MOST_READ
from taskyard.jobs.pages.queues import names_of_due, priorities
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.jobs.states import LANE_LATER, LANE_OUT, State
from taskyard.settings import get_settings

#: Rows that are counted of one tenant: a page shows fifty of them.
MOST_COUNTED = 1_000
#: Names by one statement: MySQL and MariaDB end a recursion after a thousand steps.
_NAMES_AT_ONCE = 500
#: Most parts of one UNION.
_UNION_PARTS = 50
_DUE = "lane = 1 AND queue = %s AND priority = %s AND "


@dataclasses.dataclass(slots=True)
class TenantWork:
    """What one tenant has to do now. Counts go up to ``MOST_COUNTED + 1``: that is more than can be said."""

    waiting: int = 0
    running: int = 0
    #: There are more than those: so many wait for their time, everybody's, that nobody counted this one's.
    is_more: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """Who has something to do, as far as one look goes."""

    #: Queues and priorities in which something of a tenant is due.
    due: Mapping[str, Sequence[tuple[str, int]]]
    #: Of those that wait for their time, how many; None: more than anybody counts.
    later: Mapping[str, int] | None
    #: In the broker's window, by tenant and state.
    out: Mapping[tuple[str, str], int]
    #: There may be others.
    is_cut: bool = False

    @property
    def names(self) -> set[str]:
        """Their names."""
        return {*self.due, *(self.later or ()), *(name for name, _ in self.out)} - {""}


def find_work(tenant: str | None = None) -> Work:
    """Who has something waiting or running; ``tenant``: whether that one has."""
    due, is_cut = _due_of(tenant) if tenant else _due()
    # Everybody's, also for one of them: no index has the tenant in these.
    rows = Job.objects.visible_to(None)
    waits = rows.filter(lane=LANE_LATER).order_by("available_at").values_list("tenant", flat=True)
    later = list(waits[: MOST_READ + 1])
    out = Counter(rows.filter(lane=LANE_OUT).values_list("tenant", "state")[: MOST_READ + 1])
    is_many = len(later) > MOST_READ
    return Work(due, None if is_many else Counter(later), out, is_cut or is_many or out.total() > MOST_READ)


def work_of(names: Sequence[str], work: Work) -> dict[str, TenantWork]:
    """How much each of these has to do."""
    asked = [(name, place) for name in names for place in work.due.get(name, ())]
    counts = count_each(TABLE, f"{_DUE}tenant = %s", [[*place, name] for name, place in asked])
    found = {name: TenantWork(is_more=work.later is None) for name in names}
    for (name, _), count in zip(asked, counts, strict=True):
        found[name].waiting += count
    for name, each in found.items():
        each.waiting += work.out.get((name, State.QUEUED.value), 0) + (work.later or {}).get(name, 0)
        each.running = work.out.get((name, State.RUNNING.value), 0)
    return found


def names_in(table: str, where: str = "", params: Sequence[Any] = (), *, most: int = MOST_LOOKED) -> list[str]:
    """Tenants of the rows of a table, up to so many; an index has them behind the columns of ``where``, if any."""
    sql, found, after = Sql(get_settings().database), list[str](), ""
    first = f"SELECT MIN(tenant) FROM {table} WHERE {where}tenant > "
    while len(found) < most:
        steps = min(_NAMES_AT_ONCE, most - len(found))
        # A loose index scan: one probe for each tenant, however many rows there are.
        rows = sql.query(
            f"WITH RECURSIVE t AS (SELECT ({first}%s) AS tenant, 1 AS step UNION ALL SELECT ({first}t.tenant), step + 1"
            f" FROM t WHERE t.tenant IS NOT NULL AND step < {steps}) SELECT tenant FROM t WHERE tenant IS NOT NULL",
            [*params, after, *params],
        )
        found += [row[0] for row in rows]
        if len(rows) < steps:
            break
        after = rows[-1][0]
    return found


def count_each(table: str, where: str, asked: Sequence[Sequence[Any]]) -> list[int]:
    """How many rows there are for each of these parameters, up to ``MOST_COUNTED + 1``."""
    sql, counts = Sql(get_settings().database), [0] * len(asked)
    one = f"(SELECT 1 AS one FROM {table} WHERE {where} LIMIT {MOST_COUNTED + 1})"
    for start in range(0, len(asked), _UNION_PARTS):
        parts = range(start, min(start + _UNION_PARTS, len(asked)))
        union = " UNION ALL ".join(f"SELECT {part} AS part, COUNT(*) FROM {one} AS of{part}" for part in parts)
        for place, count in sql.query(union, [value for part in parts for value in asked[part]]):
            counts[place] = count
    return counts


def _due() -> tuple[dict[str, list[tuple[str, int]]], bool]:
    found: dict[str, list[tuple[str, int]]] = {}
    left = MOST_LOOKED
    for queue in names_of_due():
        for priority in priorities(queue):
            names = names_in(TABLE, _DUE, [queue, priority], most=left)
            left -= len(names)
            for name in names:
                found.setdefault(name, []).append((queue, priority))
            if left <= 0:
                return found, True
    return found, False


def _due_of(tenant: str) -> tuple[dict[str, list[tuple[str, int]]], bool]:
    places = [(queue, priority) for queue in names_of_due() for priority in priorities(queue)]
    counts = count_each(TABLE, f"{_DUE}tenant = %s", [[*place, tenant] for place in places])
    own = [place for place, count in zip(places, counts, strict=True) if count]
    return {tenant: own} if own else {}, False
