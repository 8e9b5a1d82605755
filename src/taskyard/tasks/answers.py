"""Which of a task's errors are answers: what ``@task(errors={InsufficientFunds: 402})`` means for a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskyard.errors import InvalidTask
from taskyard.tasks import registry

#: A class of exceptions, or of its subclasses, and the HTTP status it stands for.
Answers = Mapping[type[Exception], int]


def check_answers(task: str, errors: Any) -> None:
    """Raises :class:`~taskyard.errors.InvalidTask` for what cannot be meant, and where two tasks disagree."""
    if not isinstance(errors, Mapping):
        raise InvalidTask(task, f"errors must be a dict of exception class to HTTP status, not {errors!r:.100}")
    for kind, status in errors.items():
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or kind is Exception:
            raise InvalidTask(task, f"errors names {kind!r:.100}, which is no class of exceptions of your own")
        if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:
            raise InvalidTask(task, f"errors[{kind.__name__}] must be an HTTP status from 400 to 599, not {status!r}")
        for other in registry.all_tasks():
            if other.name != task and other.options.errors.get(kind, status) != status:
                theirs = other.options.errors[kind]
                raise InvalidTask(task, f"errors[{kind.__name__}] is {status} here and {theirs} in task {other.name!r}")


def answer_to(error: type[BaseException], *, task: str = "") -> tuple[type[Exception], int] | None:
    """The nearest declared class of an error and its status, among all tasks of this process or those of one task.

    A view that calls a body directly gets the bare error, without the task it came from: so a class has one status.
    """
    only = registry.find(task) if task else None
    tasks = [only] if only is not None else [] if task else list(registry.all_tasks())
    for base in error.__mro__:
        for one in tasks:
            if base in one.options.errors:
                return base, one.options.errors[base]
    return None
