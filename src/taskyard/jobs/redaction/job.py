"""What of a job is a secret: by its task's parameters, its declaration and the project's settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from taskyard.jobs.redaction.names import is_sensitive, more_names
from taskyard.jobs.redaction.text import REDACTED
from taskyard.jobs.redaction.values import redact, restored, secrets_in
from taskyard.tasks import registry
from taskyard.tasks.doors import door

#: Columns that hold what callers and tasks gave, as it was given: needed to run, redacted when shown.
PAYLOAD = ("args", "kwargs", "message", "result", "checkpoint", "unique_key")


def names_of(task: str) -> frozenset[str]:
    """Names that the project and the declaration of this task call sensitive, beside the built-in ones."""
    declared = registry.find(task)
    return more_names(declared.options.sensitive if declared is not None else ())


def secrets_of(task: str, *, args: str, kwargs: str) -> tuple[str, ...]:
    """The secrets among a job's arguments (JSON texts), to be taken out of what is written about it."""
    return secrets_in(_named(task, json.loads(args), kwargs=json.loads(kwargs)), names_of(task))


def shown_arguments(task: str, *, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """A job's arguments as they may be shown, to whoever may see them at all.

    Imports the project's tasks where that was not done: their parameters have names, and declarations. Of a task that
    is not known even then nothing is shown that was given by position.
    """
    door("load_tasks")()
    names, parameters = names_of(task), _parameters(task)
    if parameters is None:
        return [REDACTED for _ in args], redact(kwargs, names)
    called = [*parameters, *[""] * len(args)]
    positional = [
        REDACTED if name and is_sensitive(name, names) else redact(value, names)
        for name, value in zip(called, args, strict=False)
    ]
    return positional, redact(kwargs, names)


def restored_arguments(
    task: str, *, args: Sequence[Any], kwargs: Mapping[str, Any], stored: tuple[Sequence[Any], Mapping[str, Any]]
) -> tuple[list[Any], dict[str, Any]]:
    """What a person made of arguments that were shown to them, with the secrets that are stored.

    Raises :class:`~taskyard.errors.StillHidden`, see :func:`restored`.
    """
    shown_args, shown_kwargs = shown_arguments(task, args=stored[0], kwargs=stored[1])
    return restored(list(args), stored[0], shown=shown_args), restored(dict(kwargs), stored[1], shown=shown_kwargs)


def shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a job as they may be shown to whoever may see its payload; task and arguments are among them."""
    values, task = dict(fields), fields["task"]
    args, kwargs = values["args"] or [], values["kwargs"] or {}
    values["args"], values["kwargs"] = shown_arguments(task, args=args, kwargs=kwargs)
    names = names_of(task)
    secrets = secrets_in(_named(task, args, kwargs=kwargs), names)
    for column in PAYLOAD[2:]:
        if values.get(column) is not None:
            values[column] = redact(values[column], names, secrets=secrets)
    return values


def _named(task: str, args: Sequence[Any], *, kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments, each under its name where that is known."""
    called = [*(_parameters(task) or ()), *[""] * len(args)]
    return [kwargs, *({name: value} for name, value in zip(called, args, strict=False))]


def _parameters(task: str) -> list[str] | None:
    """Names of its parameters; None for a task that this process does not know."""
    declared = registry.find(task)
    found: list[str] | None = list(declared.signature.parameters) if declared else door("parameters")(task)
    return found
