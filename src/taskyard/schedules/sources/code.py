"""Schedules that stand in code: declared when modules are imported, reconciled into rows by ``schedules sync``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, TypeVar

from django.utils import timezone
from django.utils.module_loading import autodiscover_modules

from taskyard.errors import InvalidSchedule
from taskyard.schedules.definition import Definition, checked
from taskyard.schedules.recurrence import Recurrence
from taskyard.schedules.sources import reconcile
from taskyard.schedules.sources.reconcile import Change
from taskyard.tasks.task import Task

#: The origin of rows that follow the code, and the actor of the versions it wrote.
CODE = "code"

T = TypeVar("T", bound=Task[Any, Any])

_declared: dict[str, Definition] = {}


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
    """What a sync would do: rows of the code that are to come, to change or to go; see :mod:`.reconcile`."""
    return list(reconcile.compare(CODE, declared(), adopt=adopt))


def sync(*, adopt: bool = False, now: dt.datetime | None = None) -> list[Change]:
    """Make the rows of the code as the code says, in one transaction; what was done.

    A second run does nothing. Rows that people made are never touched, and whether a row is enabled or paused is
    theirs to say for those of the code too.
    """
    return reconcile.sync(CODE, declared(), now or timezone.now(), adopt=adopt)
