"""Makes the rows of one origin as their source says: adds, changes, removes, and leaves all others alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from django.db import IntegrityError, transaction
from django.db.models import Q

from taskyard.enqueue import control_alias
from taskyard.schedules.definitions.changes import write
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.models import Schedule, ScheduleVersion

Kind = Literal["add", "change", "revert", "adopt", "remove", "conflict"]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One row that differs from its source, and what a sync does about it."""

    kind: Kind
    name: str
    #: By column: as it stands and as it will stand.
    columns: dict[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from, and what they are to say."""

    origin: str
    wanted: Mapping[str, Definition]
    #: Rows of this origin are the source's too, and a clock elsewhere calls for them; only so many of them may stay.
    called: str = ""
    may_be_called: Collection[str] = ()

    def has(self, row: Schedule) -> bool:
        """Whether the row is of this source."""
        return row.origin in (self.origin, self.called)


def compare(source: Source, *, adopt: bool = False) -> Iterator[Change]:
    """What a sync would do.

    ``revert``: somebody edited the row since its source was written into it, and the source wins; with ``adopt`` such a
    row is left as it is until the source itself changes. ``conflict``: a row of that name has another origin and is
    left alone.
    """
    either = Q(origin__in=[source.origin, *filter(None, [source.called])]) | Q(name__in=list(source.wanted))
    rows = {row.name: row for row in Schedule.objects.filter(either, tenant="")}
    for name, definition in source.wanted.items():
        if name not in rows:
            yield Change("add", name, {column: (None, value) for column, value in definition.as_columns().items()})
    yield from differences(source, rows, adopt=adopt)


def differences(source: Source, rows: Mapping[str, Schedule], *, adopt: bool = False) -> Iterator[Change]:
    """The same of these rows alone."""
    wanted = source.wanted
    for name, row in rows.items():
        if name not in wanted:
            continue
        columns = wanted[name].as_columns()
        if not source.has(row):
            yield Change("conflict", name)
            continue
        different = {
            column: (getattr(row, column), value) for column, value in columns.items() if getattr(row, column) != value
        }
        if row.origin != source.origin:
            yield Change("change", name, {**different, "origin": (row.origin, source.origin)})
        elif different or row.error:
            is_edited = _written(row, source.origin) == columns
            yield Change("change" if not is_edited else "adopt" if adopt else "revert", name, different)
    for name, row in rows.items():
        is_left = name in wanted or (row.origin == source.called and name in source.may_be_called)
        if source.has(row) and not is_left:
            yield Change("remove", name)


def _written(row: Schedule, origin: str) -> Any:
    """What the source said last."""
    versions = ScheduleVersion.objects.using(control_alias()).filter(schedule=row, actor=origin)
    last = versions.order_by("-version").first()
    return None if last is None else last.definition


def sync(source: Source, now: dt.datetime, *, adopt: bool = False) -> list[Change]:
    """Make them the same, in one transaction; what was done.

    A second run does nothing. Whether a row is enabled or paused is not its source's to say.
    """
    if not list(compare(source, adopt=adopt)):
        # Nothing to wait for.
        return []
    origin = source.origin
    with transaction.atomic(using=control_alias()):
        # One at a time: two at once would both change.
        list(Schedule.objects.select_for_update().filter(origin=origin).order_by("pk").values_list("pk", flat=True))
        changes = list(compare(source, adopt=adopt))
        for change in changes:
            _apply(change, source, now)
    return changes


def _apply(change: Change, source: Source, now: dt.datetime) -> None:
    found = Schedule.objects.filter(tenant="", name=change.name)
    mine = found.filter(origin__in=[source.origin, *filter(None, [source.called])])
    if change.kind == "remove":
        mine.delete()
    elif change.kind == "add":
        try:
            with transaction.atomic(using=control_alias()):
                row = Schedule(
                    name=change.name, origin=source.origin, created_at=now, created_by=source.origin, version=0
                )
                write(row, source.wanted[change.name], now, by=source.origin)
        except IntegrityError:
            # There was no row to wait for, and somebody else was faster.
            if not found.exists():
                raise
    elif change.kind in ("change", "revert"):
        row = mine.get()
        row.origin = source.origin
        write(row, source.wanted[change.name], now, by=source.origin)
