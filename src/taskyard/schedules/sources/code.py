"""Schedules that stand in code: declared when modules are imported, reconciled into rows by ``schedules sync``."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import autodiscover_modules

from taskyard.enqueue import control_alias
from taskyard.errors import InvalidSchedule
from taskyard.schedules.define import write
from taskyard.schedules.definition import Definition, checked
from taskyard.schedules.models import Schedule, ScheduleVersion
from taskyard.schedules.recurrence import Recurrence
from taskyard.tasks.task import Task

#: The origin of rows that follow the code, and the actor of the versions it wrote.
CODE = "code"

T = TypeVar("T", bound=Task[Any, Any])

_declared: dict[str, Definition] = {}

Kind = Literal["add", "change", "revert", "adopt", "remove", "conflict"]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One row that differs from the code, and what a sync does about it."""

    kind: Kind
    name: str
    #: By column: as it stands and as it will stand.
    columns: dict[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)


def schedule(recurrence: Recurrence, *, name: str = "", **said: Any) -> Callable[[T], T]:
    """Run a task by the clock: ``@schedule(Cron("0 3 * * *"))`` above ``@task``; ``name`` is the task's by default.

    Takes what :meth:`Schedule.objects.define <taskyard.schedules.models.ScheduleManager.define>` takes. It is a
    declaration: ``schedules sync`` makes it a row. Raises :class:`~taskyard.errors.InvalidSchedule`.
    """

    def declare(task: T) -> T:
        register(name or task.name, recurrence, task=task, **said)
        return task

    return declare


def register(name: str, recurrence: Recurrence, *, task: Task[Any, Any] | str, **said: Any) -> None:
    """The same for a task that is declared elsewhere; packages call it in their ``AppConfig.ready()``.

    The same name twice is refused, unless both say the same.
    """
    wanted = checked(name, {**said, "recurrence": recurrence, "task": task if isinstance(task, str) else task.name})
    if _declared.setdefault(name, wanted) != wanted:
        raise InvalidSchedule(name, ["it is declared twice, and differently; give one of them a name of its own."])


def declared() -> dict[str, Definition]:
    """Every declaration, by name: those of each installed app's ``schedules.py`` and ``tasks.py`` among them."""
    autodiscover_modules("schedules", "tasks")
    return dict(sorted(_declared.items()))


def compare(*, adopt: bool = False) -> list[Change]:
    """What a sync would do: rows of the code that are to come, to change or to go.

    ``revert``: somebody edited the row since the code wrote it, and the code is put back; with ``adopt`` such a row is
    left as it is until the code itself changes. ``conflict``: a row of that name has another origin and is left alone.
    """
    return list(_changes(adopt))


def _changes(adopt: bool) -> Iterator[Change]:
    rows = {row.name: row for row in Schedule.objects.filter(tenant="")}
    wanted = declared()
    for name, definition in wanted.items():
        row = rows.get(name)
        if row is None:
            yield Change("add", name, {column: (None, value) for column, value in definition.as_columns().items()})
        elif row.origin != CODE:
            yield Change("conflict", name)
        elif (change := _difference(row, definition, adopt)) is not None:
            yield change
    for name, row in rows.items():
        if row.origin == CODE and name not in wanted:
            yield Change("remove", name)


def drift(row: Schedule) -> Change | None:
    """What the next sync would do to one row of the code: ``revert``, ``change`` or ``remove``; None: nothing."""
    if row.origin != CODE or row.tenant:
        return None
    definition = declared().get(row.name)
    return Change("remove", row.name) if definition is None else _difference(row, definition, adopt=False)


def _difference(row: Schedule, definition: Definition, adopt: bool) -> Change | None:
    columns = definition.as_columns()
    different = {
        column: (getattr(row, column), value) for column, value in columns.items() if getattr(row, column) != value
    }
    if not different and not row.error:
        return None
    is_edited = _of_code(row) == columns
    return Change("change" if not is_edited else "adopt" if adopt else "revert", row.name, different)


def _of_code(row: Schedule) -> Any:
    """What the code said last."""
    versions = ScheduleVersion.objects.using(control_alias()).filter(schedule=row, actor=CODE)
    last = versions.order_by("-version").first()
    return None if last is None else last.definition


def sync(*, adopt: bool = False, now: dt.datetime | None = None) -> list[Change]:
    """Make the rows of the code as the code says, in one transaction; what was done.

    A second run does nothing. Rows that people made are never touched, and whether a row is enabled or paused is
    theirs to say for those of the code too.
    """
    now = now or timezone.now()
    with transaction.atomic(using=control_alias()):
        # One at a time: two deploys at once would both add.
        list(Schedule.objects.select_for_update().filter(origin=CODE).order_by("pk").values_list("pk", flat=True))
        changes = compare(adopt=adopt)
        for change in changes:
            _apply(change, now)
    return changes


def _apply(change: Change, now: dt.datetime) -> None:
    if change.kind in ("conflict", "adopt"):
        return
    found = Schedule.objects.filter(tenant="", name=change.name)
    if change.kind == "remove":
        found.delete()
        return
    row = found.first() or Schedule(name=change.name, origin=CODE, created_at=now, created_by=CODE, version=0)
    write(row, _declared[change.name], now, by=CODE)
