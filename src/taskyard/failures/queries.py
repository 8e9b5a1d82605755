"""The read side of failures: groups with their counts, and what stands failed in one of them.

``tenant`` is who is looking, as in :mod:`taskyard.jobs.queries`: a tenant sees groups as far as jobs of its own are in
them, and not what operators noted. Counts are of jobs that stand failed now: what was retried, discarded or pruned
counts no more. All of it is read of the two indexes of the failures.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, UUIDField

from taskyard.failures.models import Failure, FailureGroup
from taskyard.failures.states import Said, State, state_now
from taskyard.jobs.pages.tenants import count_each, names_in
from taskyard.jobs.rows.sql import Sql
from taskyard.settings import get_settings

#: Hours of a trend.
TREND_HOURS = 24


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter:
    """Which groups are meant; what is not given matches everything."""

    #: As they are now: one whose snooze is over is open.
    state: str = ""
    #: A name, or a prefix followed by ``*``.
    task: str = ""
    tenant: str | None = None
    #: One group.
    fingerprint: str = ""
    #: Also groups in which no job stands failed any more; to operators alone.
    empty: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupOverview:
    """A group now."""

    fingerprint: str
    task: str
    error_type: str
    reason: str
    message: str
    frames: tuple[str, ...]
    state: str
    snoozed_until: dt.datetime | None
    snoozed_release: str
    #: Since when it fails again after it was resolved, or its snooze was over.
    reopened_at: dt.datetime | None
    note: str
    first_release: str
    #: Jobs that stand failed, and how many tenants they are of.
    count: int
    tenants: int
    first_seen_at: dt.datetime
    #: The last of those that stand failed; None: there is none.
    last_seen_at: dt.datetime | None
    #: When something of it failed last, to within a day before.
    seen_at: dt.datetime
    #: How many of them failed in each of the last hours, the current one last.
    trend: tuple[int, ...]
    #: The job that failed last.
    sample_job: uuid.UUID | None


class GroupPlace(NamedTuple):
    """Where a page of groups ended: when the last one of it failed last, and which it was."""

    last_at: dt.datetime
    fingerprint: str

    @classmethod
    def of(cls, group: GroupOverview) -> GroupPlace:
        """That of a group."""
        return cls(group.last_seen_at or group.seen_at, group.fingerprint)


class Place(NamedTuple):
    """A failure in the order of a selection: when it failed, and its job."""

    failed_at: dt.datetime
    id: uuid.UUID


class _Counted(NamedTuple):
    fingerprint: str
    jobs: int
    first_at: dt.datetime | None
    last_at: dt.datetime | None
    tenants: int = 0


def list_groups(
    wanted: GroupFilter, now: dt.datetime, *, limit: int = 50, after: GroupPlace | None = None
) -> list[GroupOverview]:
    """The first groups a filter means, those that failed last first; ``after``: where the page before ended."""
    sql = Sql(get_settings().database)
    page = [
        _Counted(name, int(count or 0), sql.read_time(first), sql.read_time(last))
        for name, count, first, last in sql.query(*_page(sql, wanted, now, limit=limit, after=after))
    ]
    names = [row.fingerprint for row in page]
    groups: dict[str, FailureGroup] = FailureGroup.objects.using(sql.alias).in_bulk(names)
    trends, samples = _trends(sql, names, wanted.tenant, now=now), _samples(names, wanted.tenant)
    tenants = _tenants(sql, names, wanted.tenant)
    return [
        _overview(groups[row.fingerprint], row, now, trend=trends[row.fingerprint],
                  sample=samples.get(row.fingerprint), is_operator=wanted.tenant is None)
        for row in (each._replace(tenants=tenants.get(each.fingerprint, 0)) for each in page)
        if row.fingerprint in groups
    ]  # fmt: skip


def find_group(fingerprint: str, now: dt.datetime, *, tenant: str | None = None) -> GroupOverview | None:
    """One group, or None."""
    wanted = GroupFilter(fingerprint=fingerprint, tenant=tenant, empty=True)
    return next(iter(list_groups(wanted, now, limit=1)), None)


def is_there(fingerprint: str, *, tenant: str | None = None) -> bool:
    """Whether there is such a group; to a tenant: whether something of its own stands failed in it."""
    if tenant is not None:
        return _failures(tenant).filter(group_id=fingerprint).exists()
    return FailureGroup.objects.using(get_settings().database).filter(pk=fingerprint).exists()


def count_by_tenant(tenant: str | None = None) -> dict[str, int]:
    """How many jobs of each tenant stand failed, by its name; what has no tenant is under the empty one."""
    return dict(_failures(tenant).values_list("tenant").annotate(n=Count("pk")).order_by())


def tenants_with_failures(start: str = "") -> list[str]:
    """Two thousand tenants of which jobs stand failed, those behind ``start``, by one probe of an index each."""
    return names_in("taskyard_failure", start=start)


def count_some(tenants: Sequence[str]) -> dict[str, int]:
    """How many jobs of each of these stand failed, by counts that stop."""
    counts = count_each("taskyard_failure", "tenant = %s", asked=[[tenant] for tenant in tenants])
    return dict(zip(tenants, counts, strict=True))


def _page(
    sql: Sql, wanted: GroupFilter, now: dt.datetime, *, limit: int, after: GroupPlace | None
) -> tuple[str, list[Any]]:
    inner, params = _where({"group_id": wanted.fingerprint or None, "tenant": wanted.tenant})
    counted = (
        "SELECT group_id, COUNT(*) AS n, MIN(failed_at) AS first_at, MAX(failed_at) AS last_at"
        f" FROM taskyard_failure{inner} GROUP BY group_id"
    )
    conditions, more = _conditions(sql, wanted, now)
    last = "COALESCE(c.last_at, g.seen_at)"
    if after is not None:
        conditions.append(f"({last} < %s OR ({last} = %s AND g.fingerprint < %s))")
        moment = sql.time(after.last_at)
        more += [moment, moment, after.fingerprint]
    join = "LEFT" if wanted.empty and wanted.tenant is None else "INNER"
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = (
        "SELECT g.fingerprint, c.n, c.first_at, c.last_at FROM taskyard_failuregroup AS g"
        f" {join} JOIN ({counted}) AS c ON c.group_id = g.fingerprint{where}"
        f" ORDER BY {last} DESC, g.fingerprint DESC LIMIT {limit}"
    )
    return statement, [*params, *more]


def _where(equal: Mapping[str, Any]) -> tuple[str, list[Any]]:
    given = {column: value for column, value in equal.items() if value is not None}
    return (f" WHERE {' AND '.join(f'{column} = %s' for column in given)}" if given else ""), list(given.values())


def _conditions(sql: Sql, wanted: GroupFilter, now: dt.datetime) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    params: list[Any] = []
    if wanted.fingerprint:
        conditions, params = ["g.fingerprint = %s"], [wanted.fingerprint]
    if wanted.task.endswith("*"):
        conditions.append("g.task LIKE %s ESCAPE '!'")
        params.append(re.sub(r"([!%_])", r"!\1", wanted.task[:-1]) + "%")
    elif wanted.task:
        conditions.append("g.task = %s")
        params.append(wanted.task)
    if wanted.state:
        # As state_now() says it.
        is_snoozed = (
            "(g.state = 'snoozed' AND ((g.snoozed_until IS NOT NULL AND g.snoozed_until > %s)"
            " OR (g.snoozed_until IS NULL AND g.snoozed_release = %s)))"
        )
        snoozed = [sql.time(now), get_settings().release]
        is_open = f"g.state <> 'resolved' AND NOT {is_snoozed}"
        conditions.append({"snoozed": is_snoozed, "open": is_open}.get(wanted.state, "g.state = %s"))
        params += snoozed if wanted.state in ("snoozed", "open") else [wanted.state]
    return conditions, params


def _tenants(sql: Sql, names: Sequence[str], tenant: str | None) -> dict[str, int]:
    """Of how many tenants jobs stand failed in each of these groups."""
    if not names:
        return {}
    equal, params = _where({"tenant": tenant})
    # Tenant by tenant first: counting distinct ones would sort all rows.
    rows = sql.query(
        "SELECT group_id, COUNT(*) FROM (SELECT DISTINCT group_id, tenant FROM taskyard_failure"
        f"{equal}{' AND' if equal else ' WHERE'} tenant <> '' AND group_id IN ({', '.join(['%s'] * len(names))}))"
        " AS of_tenants GROUP BY group_id", [*params, *names],
    )  # fmt: skip
    return dict(rows)


def _trends(sql: Sql, names: Sequence[str], tenant: str | None, *, now: dt.datetime) -> dict[str, tuple[int, ...]]:
    hours = {name: [0] * TREND_HOURS for name in names}
    if names:
        first = now.replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=TREND_HOURS - 1)
        equal, params = _where({"tenant": tenant})
        rows = sql.query(
            f"SELECT group_id, {_HOUR[sql.vendor]} AS hour, COUNT(*) FROM taskyard_failure"
            f"{equal}{' AND' if equal else ' WHERE'} group_id IN ({', '.join(['%s'] * len(names))}) AND failed_at >= %s"
            " GROUP BY 1, 2", [*params, *names, sql.time(first)],
        )  # fmt: skip
        for name, hour, count in rows:
            place = int((sql.moment(hour) - first) / dt.timedelta(hours=1))
            # Clocks of several hosts: what failed a moment ahead of ours failed now.
            hours[name][min(place, TREND_HOURS - 1)] += count
    return {name: tuple(counts) for name, counts in hours.items()}


#: The beginning of the hour of a failure.
_HOUR = {
    "postgresql": "date_trunc('hour', failed_at, 'UTC')",
    "sqlite": "substr(failed_at, 1, 13) || ':00:00'",
    "mysql": "CAST(DATE_FORMAT(failed_at, '%%Y-%%m-%%d %%H:00:00') AS DATETIME)",
}


def _samples(names: Sequence[str], tenant: str | None) -> dict[str, uuid.UUID]:
    last = _failures(tenant).filter(group_id=OuterRef("pk")).order_by("-failed_at").values("job_id")[:1]
    groups = FailureGroup.objects.using(get_settings().database).filter(pk__in=names)
    return dict(groups.annotate(sample=Subquery(last, output_field=UUIDField())).values_list("pk", "sample"))


def _overview(
    group: FailureGroup, row: _Counted, now: dt.datetime, *, trend: tuple[int, ...], sample: uuid.UUID | None,
    is_operator: bool,
) -> GroupOverview:  # fmt: skip
    said = Said(group.state, group.snoozed_until, group.snoozed_release)
    state = state_now(said, now=now, release=get_settings().release)
    is_snoozed = state == State.SNOOZED
    return GroupOverview(
        fingerprint=group.fingerprint, task=group.task, error_type=group.error_type, reason=group.reason,
        message=group.message, frames=tuple(group.frames), state=state.value,
        snoozed_until=group.snoozed_until if is_snoozed else None,
        snoozed_release=group.snoozed_release if is_snoozed else "", reopened_at=group.reopened_at,
        note=group.note if is_operator else "", first_release=group.first_release if is_operator else "",
        count=row.jobs, tenants=row.tenants, sample_job=sample, trend=trend, seen_at=group.seen_at,
        first_seen_at=group.first_seen_at if is_operator or row.first_at is None else row.first_at,
        last_seen_at=row.last_at,
    )  # fmt: skip


def _failures(tenant: str | None) -> QuerySet[Failure]:
    rows = Failure.objects.using(get_settings().database).all()
    return rows if tenant is None else rows.filter(tenant=tenant)


# -- what stands failed in one group -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FailureSelection:
    """The jobs of a group that stand failed, as of a time: one that is brought back and fails again is not meant."""

    fingerprint: str
    at: dt.datetime
    tenant: str | None = None

    @property
    def rows(self) -> QuerySet[Failure]:
        """All of them, in no order."""
        return _failures(self.tenant).filter(group_id=self.fingerprint, failed_at__lte=self.at)

    def batch(self, after: Place | None, size: int) -> list[Place]:
        """The next ones, those that failed last first; empty at the end."""
        rows = self.rows
        if after is not None:
            same = Q(failed_at=after.failed_at, job_id__lt=after.id)
            rows = rows.filter(Q(failed_at__lt=after.failed_at) | same).filter(failed_at__lte=after.failed_at)
        return [Place(*row) for row in rows.order_by("-failed_at", "-job_id").values_list("failed_at", "job_id")[:size]]
