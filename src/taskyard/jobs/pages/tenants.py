"""Tenants that have work, and how much: one probe of an index for each name, and counts that stop."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from taskyard.jobs.models import Job
from taskyard.jobs.pages.queues import MOST_COUNTED as MOST_READ
from taskyard.jobs.pages.queues import names_of_due, priorities
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.jobs.states import LANE_LATER, LANE_OUT, State
from taskyard.settings import get_settings

#: Rows that are counted of one tenant: a page shows fifty of them.
MOST_COUNTED = 1_000
#: Names that are looked for among what is due, in all queues and priorities together; and of each, the fewest.
_MOST_NAMED, _FEWEST = 2_000, 50
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

    #: Queues and priorities in which something is due, and for tenants that were found there, in which of them.
    places: Sequence[tuple[str, int]]
    due: Mapping[str, Sequence[tuple[str, int]]]
    #: Of those that wait for their time, how many; None: more than anybody counts.
    later: Mapping[str, int] | None
    #: In the broker's window, by tenant and state.
    out: Mapping[tuple[str, str], int]
    #: There may be others: due in more places, and waiting or running at all.
    is_cut_due: bool = False
    is_cut: bool = False

    @property
    def names(self) -> set[str]:
        """Their names."""
        return {*self.due, *(self.later or ()), *(name for name, _ in self.out)} - {""}


def find_work(tenant: str | None = None, *, start: str = "") -> Work:
    """Who has something waiting or running; ``tenant``: whether that one has.

    Where more have than are looked for, those are found whose names come first, and first behind ``start``.
    """
    places = [(queue, priority) for queue in names_of_due() for priority in priorities(queue)]
    due, is_cut = ({tenant: places}, False) if tenant else _due(places, "")
    if is_cut and start:
        # Not from there at once: the database may have another order of names.
        due = _due(places, start)[0] | due
    # Everybody's, also for one of them: no index has the tenant in these.
    rows = Job.objects.visible_to(None)
    waits = rows.filter(lane=LANE_LATER).order_by("available_at").values_list("tenant", flat=True)
    later = list(waits[: MOST_READ + 1])
    out = Counter(rows.filter(lane=LANE_OUT).values_list("tenant", "state")[: MOST_READ + 1])
    is_many = len(later) > MOST_READ
    is_short = is_cut or is_many or out.total() > MOST_READ
    return Work(places, due, None if is_many else Counter(later), out, is_cut_due=is_cut, is_cut=is_short)


def work_of(names: Sequence[str], work: Work) -> dict[str, TenantWork]:
    """How much each of these has to do."""
    asked = [(name, place) for name in names for place in (work.places if work.is_cut_due else work.due.get(name, ()))]
    counts = count_each(TABLE, f"{_DUE}tenant = %s", asked=[[*place, name] for name, place in asked])
    found = {name: TenantWork(is_more=work.later is None) for name in names}
    for (name, _), count in zip(asked, counts, strict=True):
        found[name].waiting += count
    for name, each in found.items():
        each.waiting += work.out.get((name, State.QUEUED.value), 0) + (work.later or {}).get(name, 0)
        each.running = work.out.get((name, State.RUNNING.value), 0)
    return found


def names_in(
    table: str, where: str = "", *, params: Sequence[Any] = (), start: str = "", most: int = _MOST_NAMED
) -> list[str]:
    """Tenants of the rows of a table, so many behind ``start``; an index has them behind the columns of ``where``."""
    sql, found, after = Sql(get_settings().database), list[str](), start
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


def count_each(table: str, where: str, *, asked: Sequence[Sequence[Any]]) -> list[int]:
    """How many rows there are for each of these parameters, up to ``MOST_COUNTED + 1``."""
    sql, counts = Sql(get_settings().database), [0] * len(asked)
    one = f"(SELECT 1 AS one FROM {table} WHERE {where} LIMIT {MOST_COUNTED + 1})"
    for start in range(0, len(asked), _UNION_PARTS):
        parts = range(start, min(start + _UNION_PARTS, len(asked)))
        union = " UNION ALL ".join(f"SELECT {part} AS part, COUNT(*) FROM {one} AS of{part}" for part in parts)
        for place, count in sql.query(union, [value for part in parts for value in asked[part]]):
            counts[place] = count
    return counts


def _due(places: Sequence[tuple[str, int]], start: str) -> tuple[dict[str, list[tuple[str, int]]], bool]:
    found: dict[str, list[tuple[str, int]]] = {}
    most, is_cut = max(_FEWEST, _MOST_NAMED // max(1, len(places))), False
    for place in places:
        names = names_in(TABLE, _DUE, params=place, start=start, most=most)
        is_cut = is_cut or len(names) == most
        for name in names:
            found.setdefault(name, []).append(place)
    return found, is_cut
