"""Makes the rows of one origin as their source says: adds, changes, removes, and leaves all others alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from django.db import IntegrityError, transaction
from django.db.models import Q

from taskyard.enqueue import control_alias
from taskyard.schedules.define import write
from taskyard.schedules.definition import Definition
from taskyard.schedules.models import Schedule, ScheduleVersion

Kind = Literal["add", "change", "revert", "adopt", "remove", "conflict"]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One row that differs from its source, and what a sync does about it."""

    kind: Kind
    name: str
    #: By column: as it stands and as it will stand.
    columns: dict[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)


def compare(origin: str, wanted: Mapping[str, Definition], *, adopt: bool = False) -> Iterator[Change]:
    """What a sync would do.

    ``revert``: somebody edited the row since its source was written into it, and the source wins; with ``adopt`` such a
    row is left as it is until the source itself changes. ``conflict``: a row of that name has another origin and is
    left alone.
    """
    either = Q(origin=origin) | Q(name__in=list(wanted))
    rows = {row.name: row for row in Schedule.objects.filter(either, tenant="")}
    for name, definition in wanted.items():
        row = rows.get(name)
        columns = definition.as_columns()
        if row is None:
            yield Change("add", name, {column: (None, value) for column, value in columns.items()})
            continue
        if row.origin != origin:
            yield Change("conflict", name)
            continue
        different = {
            column: (getattr(row, column), value) for column, value in columns.items() if getattr(row, column) != value
        }
        if different or row.error:
            is_edited = _written(row, origin) == columns
            yield Change("change" if not is_edited else "adopt" if adopt else "revert", name, different)
    for name, row in rows.items():
        if row.origin == origin and name not in wanted:
            yield Change("remove", name)


def _written(row: Schedule, origin: str) -> Any:
    """What the source said last."""
    versions = ScheduleVersion.objects.using(control_alias()).filter(schedule=row, actor=origin)
    last = versions.order_by("-version").first()
    return None if last is None else last.definition


def sync(origin: str, wanted: Mapping[str, Definition], now: dt.datetime, *, adopt: bool = False) -> list[Change]:
    """Make them the same, in one transaction; what was done.

    A second run does nothing. Whether a row is enabled or paused is not its source's to say.
    """
    if not list(compare(origin, wanted, adopt=adopt)):
        # Nothing to wait for.
        return []
    with transaction.atomic(using=control_alias()):
        # One at a time: two at once would both change.
        list(Schedule.objects.select_for_update().filter(origin=origin).order_by("pk").values_list("pk", flat=True))
        changes = list(compare(origin, wanted, adopt=adopt))
        for change in changes:
            _apply(change, wanted, origin=origin, now=now)
    return changes


def _apply(change: Change, wanted: Mapping[str, Definition], *, origin: str, now: dt.datetime) -> None:
    found = Schedule.objects.filter(tenant="", name=change.name)
    if change.kind == "remove":
        found.filter(origin=origin).delete()
    elif change.kind == "add":
        try:
            with transaction.atomic(using=control_alias()):
                row = Schedule(name=change.name, origin=origin, created_at=now, created_by=origin, version=0)
                write(row, wanted[change.name], now, by=origin)
        except IntegrityError:
            # There was no row to wait for, and somebody else was faster.
            if not found.exists():
                raise
    elif change.kind in ("change", "revert"):
        write(found.get(origin=origin), wanted[change.name], now, by=origin)
