"""What makes two jobs of one task the same: a pure rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from taskyard.errors import InvalidTask
from taskyard.tasks.payload import encode_value

#: ``"argument"``, ``("a", "b")``, ``True`` (all arguments) or a callable of the arguments that returns the key.
Unique = str | tuple[str, ...] | bool | Callable[..., Any]


def unique_key(task: str, unique: Unique, arguments: Mapping[str, Any]) -> str:
    """The readable key of a call, from its bound arguments."""
    if callable(unique):
        value: Any = unique(**arguments)
    elif unique is True:
        value = dict(sorted(arguments.items()))
    else:
        names = (unique,) if isinstance(unique, str) else unique
        assert isinstance(names, tuple)
        missing = [name for name in names if name not in arguments]
        if missing:
            raise InvalidTask(task, f"unique={unique!r} names {missing[0]!r}, which is not an argument of the call")
        value = [arguments[name] for name in names]
        value = value[0] if isinstance(unique, str) else value
    return value if isinstance(value, str) else encode_value(task, "the unique key", value)


def names_only(unique: Unique | None, kwargs: Mapping[str, Any]) -> bool:
    """Whether the key can be told from what a call names, without the defaults it leaves out."""
    return not unique or (isinstance(unique, str) and unique in kwargs)


def unique_lock(task: str, tenant: str, key: str) -> str:
    """The value the unique index holds while such a job is unfinished: 64 hexadecimal digits, whatever the key."""
    return hashlib.sha256("\0".join((tenant, task, key)).encode("utf-8", "surrogatepass")).hexdigest()
