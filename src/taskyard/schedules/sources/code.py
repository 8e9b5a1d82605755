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
from taskyard.schedules.define import refuse_odd_names, write
from taskyard.schedules.definition import Declaration, checked
from taskyard.schedules.models import TRIGGERED, Schedule, ScheduleVersion
from taskyard.schedules.recurrence import Recurrence
from taskyard.schedules.target import checked_path, checked_targets
from taskyard.schedules.targets import BUILTIN
from taskyard.tasks.task import Task

#: The origin of rows that follow the code, and the actor of the versions it wrote.
CODE = "code"

T = TypeVar("T", bound=Task[Any, Any])

_declared: dict[str, Declaration] = {}

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

    Takes what :meth:`Schedule.objects.define <taskyard.schedules.models.ScheduleManager.define>` takes (such as
    ``description``), and ``targets`` (names of those it is for, where it makes no sense on others; default: all) and
    ``http_path`` (where clocks find it that call by HTTP). It is a declaration: ``schedules sync`` carries it to a
    target, by default to a row. Raises :class:`~taskyard.errors.InvalidSchedule`.
    """

    def declare(task: T) -> T:
        register(name or task.name, recurrence, task=task, **said)
        return task

    return declare


def register(name: str, recurrence: Recurrence, *, task: Task[Any, Any] | str, **said: Any) -> None:
    """The same for a task that is declared elsewhere; packages call it in their ``AppConfig.ready()``.

    The same name twice is refused, unless both say the same.
    """
    refuse_odd_names(name, "")
    targets, http_path = checked_targets(name, said.pop("targets", None)), checked_path(name, said.pop("http_path", ""))
    task_name = task if isinstance(task, str) else task.name
    wanted = Declaration(name, checked(name, {**said, "recurrence": recurrence, "task": task_name}), targets, http_path)
    if _declared.get(name, wanted) != wanted:
        raise InvalidSchedule(name, ["it is declared twice, and differently; give one of them a name of its own."])
    if http_path and (other := _at_path(http_path)) not in ("", name):
        raise InvalidSchedule(name, [f"http_path {http_path!r} is that of {other!r}; give each a path of its own."])
    _declared[name] = wanted


def _at_path(path: str) -> str:
    return next((known.name for known in _declared.values() if known.http_path == path), "")


def declared() -> dict[str, Declaration]:
    """Every declaration, by name: those of each installed app's ``schedules.py`` and ``tasks.py`` among them."""
    autodiscover_modules("schedules", "tasks")
    return dict(sorted(_declared.items()))


def compare(*, adopt: bool = False) -> list[Change]:
    """What a sync would do: rows of the code that are to come, to change or to go; of what is for the built-in target.

    ``revert``: somebody edited the row since the code wrote it, and the code is put back; with ``adopt`` such a row is
    left as it is until the code itself changes. ``conflict``: a row of that name has another origin and is left alone.
    """
    return list(_changes(adopt))


def _changes(adopt: bool) -> Iterator[Change]:
    rows = {row.name: row for row in Schedule.objects.filter(tenant="")}
    all_declared = declared()
    wanted = {name: one for name, one in all_declared.items() if one.is_for(BUILTIN)}
    for name, declaration in wanted.items():
        row = rows.get(name)
        columns = declaration.definition.as_columns()
        if row is None:
            yield Change("add", name, {column: (None, value) for column, value in columns.items()})
            continue
        if row.origin not in (CODE, TRIGGERED):
            yield Change("conflict", name)
            continue
        different = {
            column: (getattr(row, column), value) for column, value in columns.items() if getattr(row, column) != value
        }
        if row.is_triggered:
            yield Change("change", name, {**different, "origin": (TRIGGERED, CODE)})
        elif different or row.error:
            is_edited = _of_code(row) == columns
            yield Change("change" if not is_edited else "adopt" if adopt else "revert", name, different)
    for name, row in rows.items():
        if name not in (wanted if row.origin == CODE else all_declared) and row.origin in (CODE, TRIGGERED):
            yield Change("remove", name)


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
    row = found.first() or Schedule(name=change.name, created_at=now, created_by=CODE, version=0)
    row.origin = CODE
    write(row, _declared[change.name].definition, now, by=CODE)
