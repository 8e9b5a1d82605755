"""Schedules that stand in code: declared when modules are imported, reconciled into rows by ``schedules sync``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, TypeVar

from django.utils import timezone
from django.utils.module_loading import autodiscover_modules

from taskyard.errors import InvalidSchedule
from taskyard.schedules.definitions.define import refuse_odd_names
from taskyard.schedules.definitions.definition import Declaration, checked
from taskyard.schedules.models import TRIGGERED, Schedule
from taskyard.schedules.recurrence import Recurrence
from taskyard.schedules.sources import reconcile
from taskyard.schedules.sources.reconcile import Change, Source
from taskyard.schedules.target import checked_path, checked_targets
from taskyard.schedules.targets import BUILTIN
from taskyard.settings import get_settings
from taskyard.tasks.task import Task


def origin() -> str:
    """The origin of rows that follow this site's code, and the actor of the versions it wrote."""
    return _of_site("code")


def called() -> str:
    """The origin of rows of this site's code that a clock elsewhere calls for."""
    return _of_site(TRIGGERED)


def _of_site(kind: str) -> str:
    site = get_settings().site
    return f"{kind}:{site}" if site else kind


#: A task of ours, or one of Django's that has one of ours behind it.
T = TypeVar("T")

_declared: dict[str, Declaration] = {}


def schedule(recurrence: Recurrence, *, name: str = "", **said: Any) -> Callable[[T], T]:
    """Run a task by the clock: ``@schedule(Cron("0 3 * * *"))`` above ``@task``; ``name`` is the task's by default.

    Takes what :meth:`Schedule.objects.define <taskyard.schedules.models.ScheduleManager.define>` takes (such as
    ``description``), and ``targets`` (names of those it is for, where it makes no sense on others; default: all) and
    ``http_path`` (where clocks find it that call by HTTP). It is a declaration: ``schedules sync`` carries it to a
    target, by default to a row. Raises :class:`~taskyard.errors.InvalidSchedule`.
    """

    def declare(task: T) -> T:
        given: Any = task
        ours: Task[Any, Any] = getattr(given, "declared", given)
        register(name or ours.name, recurrence, task=ours, **said)
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

    See :func:`taskyard.schedules.sources.reconcile.compare`.
    """
    return list(reconcile.compare(_source(), adopt=adopt))


def drift(row: Schedule) -> Change | None:
    """What the next sync would do to one row of the code: ``revert``, ``change`` or ``remove``; None: nothing."""
    source = _source()
    if row.tenant or not source.has(row):
        return None
    return next(reconcile.differences(source, {row.name: row}), None)


def _source() -> Source:
    everything = declared()
    own = {name: each.definition for name, each in everything.items() if each.is_for(BUILTIN)}
    return Source(origin(), own, called=called(), may_be_called=everything)


def sync(*, adopt: bool = False, now: dt.datetime | None = None) -> list[Change]:
    """Make the rows of the code as the code says, in one transaction; what was done.

    A second run does nothing. Rows that people made are never touched, and whether a row is enabled or paused is
    theirs to say for those of the code too.
    """
    return reconcile.sync(_source(), now or timezone.now(), adopt=adopt)
