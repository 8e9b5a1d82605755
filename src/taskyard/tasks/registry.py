"""Every declared task of this process, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from taskyard.errors import InvalidTask, UnknownTask

if TYPE_CHECKING:
    from taskyard.tasks.task import Task

    AnyTask = Task[Any, Any]

_tasks: dict[str, AnyTask] = {}
_observers: list[Callable[[AnyTask], None]] = []


def register(task: AnyTask) -> None:
    """Make a task known; a second, different function under the same name is refused."""
    other = _tasks.get(task.name)
    if other is not None and _origin(other) != _origin(task):
        raise InvalidTask(task.name, f"already declared in {other.func.__module__}; give one of them a name of its own")
    _tasks[task.name] = task
    for observe in _observers:
        observe(task)


def observe(observer: Callable[[AnyTask], None]) -> None:
    """Call ``observer`` for every task declared so far and from now on."""
    _observers.append(observer)
    for task in list(_tasks.values()):
        observer(task)


def get(name: str) -> AnyTask:
    """The task of that name; raises :class:`UnknownTask` with the nearest known name."""
    try:
        return _tasks[name]
    except KeyError:
        raise UnknownTask(name, difflib.get_close_matches(name, _tasks, n=1)) from None


def find(name: str) -> AnyTask | None:
    """The task of that name, or None."""
    return _tasks.get(name)


def all_tasks() -> Iterator[AnyTask]:
    """Every declared task, by name."""
    return iter(sorted(_tasks.values(), key=lambda task: task.name))


def _origin(task: AnyTask) -> tuple[str, str]:
    return task.func.__module__, task.func.__qualname__
