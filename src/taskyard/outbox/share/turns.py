"""Takes the due rows of one queue, in their order: by urgency, then fairly among tenants, then by time."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from taskyard.jobs.rows.sql import PUT_BACK, TABLE, Sql, Wish
from taskyard.outbox import outgoing
from taskyard.outbox.share.fairness import Shares

Row = tuple[Any, ...]

#: How often a backlog is looked at from its beginning.
_SCAN_EVERY = dt.timedelta(seconds=1)
#: Up to so many tenants that wait, each turn looks for others; beyond that, looking is to take a twentieth of the time.
_FEW_TENANTS = 20
_SHORTEST_LOOK_SECONDS = 0.25
_LOOK_SECONDS_PER_TENANT = 0.0002
_LONGEST_LOOK_SECONDS = 1.0
#: How long several tenants are reckoned with after they were seen last.
_SHARED_FOR = dt.timedelta(seconds=60)
#: Looks at one priority within a turn: somebody had less than was asked for, and others get the rest.
_ROUNDS = 3
#: A first batch up to this is left as it is, whoever else waits.
_FEW_ROWS = 4
#: Beyond every priority there is.
_BOTTOM, _TOP = -32_768, 32_767
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


def _is_any(condition: str) -> str:
    """Whether such a tenant has work. Not EXISTS: for a prepared one PostgreSQL expects to find a row soon wherever it
    begins, and reads the whole table where there is none.
    """
    tenants = f"SELECT MIN(tenant) FROM {TABLE} WHERE lane = 1 AND queue = %s AND priority = %s"
    return f"({tenants}{condition}) IS NOT NULL"


_ASSIGN = "state = 'queued', published_at = %s, publishes = 1, worker = NULL"
_OTHERS = " OR ".join(_is_any(f" AND tenant {side} %s") for side in "<>")
_PRIORITY_BETWEEN = (
    f"SELECT priority FROM {TABLE} WHERE lane = 1 AND queue = %s AND priority < %s AND priority > %s"
    " ORDER BY priority DESC LIMIT 1"
)
# A loose index scan: one index probe for each tenant, however many rows there are.
_FIRST_TENANT = f"SELECT MIN(tenant) FROM {TABLE} WHERE lane = 1 AND queue = %s AND priority = %s"
_TENANTS_WITH_WORK = f"""
WITH RECURSIVE t AS (
  SELECT ({_FIRST_TENANT}) AS tenant
  UNION ALL
  SELECT ({_FIRST_TENANT} AND tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL
) SELECT tenant FROM t WHERE tenant IS NOT NULL"""

#: Places in a row of :data:`outgoing.COLUMNS`.
_PRIORITY, _TENANT, _AVAILABLE_AT = 4, 5, -1


class Terms(Protocol):
    """What operators say of tenants, as far as a turn must know it."""

    @property
    def hold_back(self) -> bool:
        """Whether any tenant is paused or limited."""
        ...

    @property
    def weights(self) -> Mapping[str, float]:
        """Of the tenants whose weight is not 1."""
        ...

    def room(self, tenant: str, queue: str, *, now: dt.datetime) -> int | None:
        """How many of its jobs may start now in this queue; None: any number."""
        ...

    def spend(self, tenant: str, jobs: int, *, now: dt.datetime) -> None:
        """So many of its jobs were fed."""
        ...


class _Mark(NamedTuple):
    """The last row that was taken, while more are waiting behind it."""

    priority: int
    tenant: str
    moment: dt.datetime


@dataclasses.dataclass(slots=True)
class Level:
    """What is known of one priority of a queue."""

    shares: Shares = dataclasses.field(default_factory=Shares)
    #: Tenants with due work, as of the last look, without those that were found to have none left.
    waiting: set[str] = dataclasses.field(default_factory=set)
    looked_at: dt.datetime = _NEVER
    #: By tenant, as for the whole queue: where to go on, and when it was looked at from its beginning.
    marks: dict[str, dt.datetime] = dataclasses.field(default_factory=dict)
    scanned_at: dict[str, dt.datetime] = dataclasses.field(default_factory=dict)

    def is_due(self, now: dt.datetime) -> bool:
        """Whether it is time to look who has work."""
        if len(self.waiting) <= _FEW_TENANTS:
            return True
        seconds = min(_LONGEST_LOOK_SECONDS, len(self.waiting) * _LOOK_SECONDS_PER_TENANT)
        return not 0 <= (now - self.looked_at).total_seconds() < max(_SHORTEST_LOOK_SECONDS, seconds)

    def since(self, tenant: str, now: dt.datetime) -> dt.datetime | None:
        """Where this tenant's rows are to be looked for; None: from the beginning."""
        mark = self.marks.get(tenant)
        if mark is not None and dt.timedelta(0) <= now - self.scanned_at[tenant] < _SCAN_EVERY:
            return mark
        self.marks.pop(tenant, None)
        self.scanned_at[tenant] = now
        return None

    def went(self, wish: Wish, rows: Sequence[Row], *, last: dt.datetime | None) -> None:
        """Note what came of a wish."""
        if len(rows) == wish.most and last is not None:
            self.marks[wish.tenant] = last
        elif wish.since is not None:
            # There may be some that were committed late: the next look is from the beginning.
            del self.marks[wish.tenant]
        else:
            self.waiting.discard(wish.tenant)
            self.scanned_at.pop(wish.tenant, None)


class Backlog:
    """The due rows of one queue.

    Rows that were taken before stay in the index while somebody's old snapshot may see them, and every look from the
    beginning passes all of them. So behind a backlog's last row the next look goes on; what came to stand before it
    meanwhile, because its transaction took longer, is found within ``_SCAN_EVERY``.

    While one tenant has work, or none is named, that is all. Where several wait, each has a share and a mark of its
    own in each priority.
    """

    def __init__(self, queue: str) -> None:
        self.queue = queue
        #: Whether jobs of some tenant were seen: a newcomer is not to wait for all that stands in a large window.
        self.has_tenants = False
        #: When several tenants were seen to wait.
        self._shared_at: dt.datetime | None = None
        #: Whether a limit held something back in the last turn.
        self.is_held = False
        self.levels: dict[int, Level] = {}
        self._mark: _Mark | None = None
        self._scanned_at = _NEVER
        #: Priority and tenant of the backlog that is being worked off.
        self._began: tuple[int, str] | None = None

    def take(self, sql: Sql, now: dt.datetime, *, room: int, terms: Terms) -> list[Row]:
        """Move up to ``room`` rows to ``queued``; those rows, in the order in which they are to run."""
        self.is_held = False
        if not terms.hold_back and not self.is_shared and not self._has_others(sql):
            rows = self._take_first(sql, now, room)
            if not self._shows_others(sql, rows):
                self.has_tenants = self.has_tenants or any(row[_TENANT] for row in rows)
                return rows
            _put_back(sql, rows)
        self._mark = None
        rows = self._take_fairly(sql, now, room, terms=terms)
        waiting = set().union(*(level.waiting for level in self.levels.values()), (row[_TENANT] for row in rows))
        self.has_tenants = self.has_tenants or bool(waiting - {""})
        if len(waiting) > 1:
            self._shared_at = now
        elif not terms.hold_back and (self._shared_at is None or now - self._shared_at > _SHARED_FOR):
            self._shared_at = None
            self.levels.clear()
        return rows

    @property
    def is_shared(self) -> bool:
        """Whether several tenants wait, or did a short while ago."""
        return self._shared_at is not None

    # -- one tenant ----------------------------------------------------------------------------------------------------

    def _has_others(self, sql: Sql) -> bool:
        """Whether anybody else waits beside a tenant with a backlog."""
        if self._mark is None:
            return False
        place = [self.queue, self._mark.priority, self._mark.tenant]
        return bool(sql.all(f"SELECT {_OTHERS}", place * 2)[0][0])

    def _shows_others(self, sql: Sql, rows: Sequence[Row]) -> bool:
        """Whether the first batch of a backlog left others behind. A few rows are nobody's disadvantage."""
        began, self._began = self._began, self._mark and (self._mark.priority, self._mark.tenant)
        if len(rows) <= _FEW_ROWS or self._began is None or self._began == began:
            return False
        return len({row[_TENANT] for row in rows}) > 1 or self._has_others(sql)

    def _take_first(self, sql: Sql, now: dt.datetime, room: int) -> list[Row]:
        rows: list[Row] = []
        mark = self._mark
        if mark is not None and now - self._scanned_at < _SCAN_EVERY:
            rows += self._take_part(sql, now, room, "priority > %s", [mark.priority])
            after = "priority = %s AND tenant = %s AND available_at >= %s"
            place = [mark.priority, mark.tenant, sql.time(mark.moment)]
            rows += self._take_part(sql, now, room - len(rows), after, place)
        if len(rows) < room:
            self._scanned_at = now
            rows += self._take_part(sql, now, room - len(rows), "", [])
        # RETURNING has no order of its own.
        rows.sort(key=lambda row: (-row[_PRIORITY], row[_AVAILABLE_AT], str(row[0])))
        last = max(rows, key=lambda row: (-row[_PRIORITY], row[_TENANT], row[_AVAILABLE_AT]), default=None)
        self._mark = None
        if last is not None and len(rows) == room:
            self._mark = _Mark(last[_PRIORITY], last[_TENANT], sql.moment(last[_AVAILABLE_AT]))
        return rows

    def _take_part(self, sql: Sql, now: dt.datetime, room: int, where: str, params: Sequence[Any]) -> list[Row]:
        if room <= 0:
            return []
        return sql.take(
            _ASSIGN, f"lane = 1 AND queue = %s{' AND ' if where else ''}{where}", [sql.time(now), self.queue, *params],
            order="priority DESC, tenant, available_at, id", limit=room, returning=outgoing.COLUMNS,
        )  # fmt: skip

    # -- several tenants -----------------------------------------------------------------------------------------------

    def _take_fairly(self, sql: Sql, now: dt.datetime, room: int, *, terms: Terms) -> list[Row]:
        rows: list[Row] = []
        for priority in self._priorities(sql):
            level = self.levels.setdefault(priority, Level())
            self._look(sql, now, level, priority=priority)
            turn = _Turn(sql, now, self.queue, priority)
            for _ in range(_ROUNDS):
                got = self._round(turn, level, room - len(rows), terms=terms)
                rows += got
                if not got or len(rows) >= room:
                    break
            if len(rows) >= room:
                break
        return rows

    def _priorities(self, sql: Sql) -> Iterator[int]:
        """Those with due rows, the most urgent first: the ones known to have some, and whatever lies between them."""
        priority = _TOP
        while True:
            known = max((p for p, level in self.levels.items() if p < priority and level.waiting), default=_BOTTOM)
            found = sql.all(_PRIORITY_BETWEEN, [self.queue, priority, known])
            priority = int(found[0][0]) if found else known
            if priority == _BOTTOM:
                return
            yield priority

    def _look(self, sql: Sql, now: dt.datetime, level: Level, *, priority: int) -> None:
        if not level.is_due(now) or (level.waiting and self._is_complete(sql, level, priority=priority)):
            return
        place = [self.queue, priority]
        level.waiting = {row[0] for row in sql.all(_TENANTS_WITH_WORK, place * 2)}
        level.looked_at = now

    def _is_complete(self, sql: Sql, level: Level, *, priority: int) -> bool:
        """Whether nobody else has work: looks between the names, where those that are known leave no trace."""
        if len(level.waiting) > _FEW_TENANTS:
            return False
        parts, params = [], []
        for low, high in itertools.pairwise([None, *sorted(level.waiting), None]):
            bounds = [(" AND tenant > %s", low), (" AND tenant < %s", high)]
            gap = "".join(condition for condition, name in bounds if name is not None)
            parts.append(_is_any(gap))
            params += [self.queue, priority, *(name for _, name in bounds if name is not None)]
        return not sql.all(f"SELECT {' OR '.join(parts)}", params)[0][0]

    def _round(self, turn: _Turn, level: Level, room: int, *, terms: Terms) -> list[Row]:
        caps = dict.fromkeys(level.waiting, room)
        if terms.hold_back:
            caps = {tenant: self._cap(tenant, room, turn.now, terms=terms) for tenant in caps}
        order = level.shares.order(
            room, {tenant: cap for tenant, cap in caps.items() if cap > 0}, weights=terms.weights
        )
        if not order:
            return []
        wishes = [Wish(tenant, most, level.since(tenant, turn.now)) for tenant, most in Counter(order).items()]
        taken = turn.take(wishes)
        for wish in wishes:
            rows = taken.get(wish.tenant, [])
            level.went(wish, rows, last=turn.sql.read_time(rows[-1][_AVAILABLE_AT]) if rows else None)
        fed = {tenant: len(rows) for tenant, rows in taken.items()}
        level.shares.charge(fed, terms.weights)
        for tenant, jobs in fed.items():
            terms.spend(tenant, jobs, now=turn.now)
        return _in_order(order, taken)

    def _cap(self, tenant: str, room: int, now: dt.datetime, *, terms: Terms) -> int:
        allowed = terms.room(tenant, self.queue, now=now)
        if allowed is not None and allowed < room:
            self.is_held = True
            return allowed
        return room


class _Turn(NamedTuple):
    """One look at one priority of a queue."""

    sql: Sql
    now: dt.datetime
    queue: str
    priority: int

    def take(self, wishes: Sequence[Wish]) -> dict[str, list[Row]]:
        """The rows that were taken, by tenant and in the order of their time."""
        rows = self.sql.take_each(
            _ASSIGN, "lane = 1 AND queue = %s AND priority = %s", [self.sql.time(self.now), self.queue, self.priority],
            wishes=wishes, returning=outgoing.COLUMNS,
        )  # fmt: skip
        rows.sort(key=lambda row: (row[_AVAILABLE_AT], str(row[0])))
        taken: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            taken[row[_TENANT]].append(row)
        return dict(taken)


def _put_back(sql: Sql, rows: Sequence[Row]) -> None:
    # On the database broker a worker may have one of them in hand already: it keeps it.
    sql.execute(
        f"UPDATE {TABLE} SET {PUT_BACK}"
        f" WHERE state = 'queued' AND worker IS NULL AND id IN ({', '.join(['%s'] * len(rows))})",
        [row[0] for row in rows],
    )


def _in_order(order: Sequence[str], taken: Mapping[str, Sequence[Row]]) -> list[Row]:
    lines = {tenant: iter(rows) for tenant, rows in taken.items()}
    rows = [row for tenant in order if tenant in lines and (row := next(lines[tenant], None)) is not None]
    # Names that the database takes for the same: not asked for, and yet here.
    return rows + [row for line in lines.values() for row in line]
