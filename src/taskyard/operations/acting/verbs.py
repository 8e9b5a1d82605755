"""The list of verbs: what may be done to what, and the permission it takes. Commands, pages and interfaces read it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Concatenate, ParamSpec, TypeVar

from taskyard.operations.acting.actor import Actor

P = ParamSpec("P")
R = TypeVar("R")

#: Modules that declare verbs.
_MODULES = (
    "jobs", "batches", "sagas", "failures", "queues", "tenants", "workers", "schedules", "audit", "tokens",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Verb:
    """One thing that may be done."""

    #: ``job``, ``queue``, ``tenant``, ``worker``, ``schedule``, ``auditentry`` and so on.
    kind: str
    name: str
    #: Codenames of Django's permissions of the app ``taskyard``; all of them are needed.
    permissions: tuple[str, ...]
    #: The function; its first argument is an :class:`~taskyard.operations.acting.actor.Actor`.
    act: Callable[..., Any]
    #: What it does, in a sentence.
    does: str
    #: Only looks: nothing is changed, and no audit entry is written.
    reads: bool = False
    #: For operators of all tenants alone.
    for_all: bool = False
    #: States of a job that it acts on; empty: any, or it is not about jobs.
    takes: tuple[str, ...] = ()

    @property
    def permission(self) -> str:
        """The first of its permissions."""
        return self.permissions[0]

    def is_open_to(self, actor: Actor) -> bool:
        """Whether it makes sense to offer it; the function itself asks again."""
        return all(actor.may(each) for each in self.permissions) and (actor.is_for_all or not self.for_all)


_verbs: dict[tuple[str, str], Verb] = {}


def verb(
    kind: str, *permissions: str, reads: bool = False, for_all: bool = False, takes: Sequence[str] = ()
) -> Callable[[Callable[Concatenate[Actor, P], R]], Callable[Concatenate[Actor, P], R]]:
    """Declare a function as a verb: its permissions are asked for before it is entered."""

    def declare(function: Callable[Concatenate[Actor, P], R]) -> Callable[Concatenate[Actor, P], R]:
        @functools.wraps(function)
        def act(actor: Actor, /, *args: P.args, **kwargs: P.kwargs) -> R:
            for each in permissions:
                actor.require_all_tenants(each) if for_all else actor.require(each)
            return function(actor, *args, **kwargs)

        name = function.__name__.rstrip("_")
        does = (function.__doc__ or "").strip().partition("\n")[0]
        _verbs[kind, name] = Verb(kind, name, permissions, act, does, reads, for_all, tuple(takes))
        return act

    return declare


def find_verb(kind: str, name: str) -> Verb:
    """One of them; raises ``KeyError``."""
    return next(each for each in all_verbs() if (each.kind, each.name) == (kind, name))


def all_verbs() -> list[Verb]:
    """Every verb, by kind and name."""
    for module in _MODULES:
        import_module(f"taskyard.operations.{module}")
    return [_verbs[key] for key in sorted(_verbs)]
