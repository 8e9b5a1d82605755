"""Where declarations reach the rooms above them without importing them: each door is opened once, at start-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskyard.errors import NotReady

_open: dict[str, Callable[..., Any]] = {}


def open_door(name: str, handler: Callable[..., Any]) -> None:
    """Let ``name`` be answered by ``handler`` from now on."""
    _open[name] = handler


def door(name: str) -> Callable[..., Any]:
    """The handler of ``name``; raises :class:`NotReady` before Django loaded Taskyard."""
    try:
        return _open[name]
    except KeyError:
        raise NotReady(name) from None
