"""Schedules that stand elsewhere, taken over: what is found there against the rows here, and the rows made so."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from django.db import IntegrityError, transaction

from taskyard.enqueue import control_alias
from taskyard.errors import TaskyardError
from taskyard.schedules.definitions.define import write
from taskyard.schedules.definitions.definition import Definition, checked
from taskyard.schedules.models import Schedule, ScheduleVersion

Kind = Literal["add", "change", "same", "edited", "conflict", "refused", "remove"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One schedule as it stands elsewhere, in our words; or why it cannot be said in them."""

    name: str
    tenant: str = ""
    #: What :meth:`~taskyard.schedules.models.ScheduleManager.define` would be given.
    said: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_enabled: bool = True
    problem: str = ""
    #: What will not be as it was.
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where schedules come from."""

    #: Of the rows, and the actor of their versions.
    origin: str
    #: Who decides about them; empty: any scheduler.
    keeper: str = ""
    #: The origin of rows that stood in for it until now, and become its own.
    supersedes: str = ""
    #: Whether the rows follow it: edits are put back, and what it names no more goes.
    is_truth: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What is done about one of them.

    ``edited``: somebody changed the row since it was taken over, and it stays as it is. ``conflict``: a row of that
    name has another origin, and is left alone. ``refused``: ``reason`` says what cannot be said here.
    """

    kind: Kind
    name: str
    tenant: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    #: By column: as it stands and as it will stand.
    columns: dict[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)


def take_over(source: Source, found: Sequence[Found], now: dt.datetime, *, is_rehearsal: bool = False) -> list[Step]:
    """Make rows of what was found, in one transaction; what was done, or what would be.

    A second run does nothing. What was due before is not run.
    """
    try:
        return _take_over(source, found, now, is_rehearsal=is_rehearsal)
    except IntegrityError:
        # Somebody else did the same at that moment: two Beats that start together.
        return _take_over(source, found, now, is_rehearsal=is_rehearsal)


def _take_over(source: Source, found: Sequence[Found], now: dt.datetime, *, is_rehearsal: bool) -> list[Step]:
    with transaction.atomic(using=control_alias()):
        rows = {
            (row.tenant, row.name): row
            for row in Schedule.objects.select_for_update().filter(name__in=[each.name for each in found])
        }
        steps = [_step(source, each, rows.get((each.tenant, each.name))) for each in found]
        for each, step in zip(found, steps, strict=True) if not is_rehearsal else ():
            if step.kind in ("add", "change"):
                _put(source, each, rows.get((each.tenant, each.name)), now)
        return [*steps, *_remove(source, found, is_rehearsal=is_rehearsal)]


def _step(source: Source, each: Found, row: Schedule | None) -> Step:
    if each.problem:
        return Step("refused", each.name, each.tenant, each.problem)
    try:
        columns = checked(each.name, each.said).as_columns()
    except TaskyardError as error:
        return Step("refused", each.name, each.tenant, str(error))
    if row is None:
        added = {name: (None, value) for name, value in columns.items()}
        return Step("add", each.name, each.tenant, "", each.notes, added)
    if row.origin not in {source.origin, source.supersedes}:
        return Step("conflict", each.name, each.tenant, f"there is one of that name from {row.origin!r}")
    changed = {name: (getattr(row, name), value) for name, value in columns.items() if getattr(row, name) != value}
    if row.origin == source.supersedes:
        return Step("change", each.name, each.tenant, "", each.notes, changed)
    if not changed and not row.error:
        return Step("same", each.name, each.tenant)
    if not source.is_truth and _is_edited(source, row):
        return Step("edited", each.name, each.tenant, "somebody changed it since; it stays as it is")
    return Step("change", each.name, each.tenant, "", each.notes, changed)


def _is_edited(source: Source, row: Schedule) -> bool:
    last = ScheduleVersion.objects.using(control_alias()).filter(schedule=row).order_by("-version").first()
    if last is None or last.actor != source.origin:
        return True
    return any(getattr(row, name) != value for name, value in last.definition.items())


def _put(source: Source, each: Found, row: Schedule | None, now: dt.datetime) -> None:
    definition: Definition = checked(each.name, each.said)
    row = row or Schedule(
        name=each.name, tenant=each.tenant, enabled=each.is_enabled, created_at=now, created_by=source.origin, version=0
    )
    row.origin, row.keeper = source.origin, source.keeper
    write(row, definition, now, by=source.origin)


def _remove(source: Source, found: Sequence[Found], *, is_rehearsal: bool) -> Iterator[Step]:
    known = {(each.tenant, each.name) for each in found}
    for row in Schedule.objects.filter(origin=source.origin) if source.is_truth else ():
        if (row.tenant, row.name) not in known:
            if not is_rehearsal:
                row.delete()
            yield Step("remove", row.name, row.tenant)
