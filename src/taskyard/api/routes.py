"""The table of routes: each is declared beside its handler, with what it takes and answers."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from taskyard.api.shapes import Object, Shape
from taskyard.operations import Actor

#: Where routes are declared, in the order of the document.
_MODULES = (
    "jobs",
    "bulk",
    "batches",
    "sagas",
    "failures",
    "schedules",
    "queues",
    "tenants",
    "workers",
    "audit",
    "status",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, understood."""

    request: HttpRequest
    actor: Actor
    #: Of the address.
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back where it is not plainly the document."""

    document: Any
    status: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


#: Does it: a document, an :class:`Answer`, or a response of its own.
Handler = Callable[[Asked], "Mapping[str, Any] | Answer | HttpResponseBase"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one address."""

    method: str
    #: In Django's words, below ``/api/v1/``.
    path: str
    act: Handler
    #: Permissions that it asks for: of all of them, or as ``says`` tells.
    permissions: tuple[str, ...]
    answer: Shape
    #: Statuses of an answer that is no problem.
    statuses: tuple[int, ...] = (200,)
    query: Mapping[str, Shape] = dataclasses.field(default_factory=dict)
    body: Object | None = None
    media: str = "application/json"

    @property
    def name(self) -> str:
        """``listJobs``: of the handler's name."""
        first, *rest = self.act.__name__.strip("_").split("_")
        return first + "".join(word.capitalize() for word in rest)

    @property
    def tag(self) -> str:
        """What it is about."""
        return self.path.partition("/")[0]

    @property
    def template(self) -> str:
        """Its address as OpenAPI writes it."""
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", self.path)

    @property
    def parameters(self) -> list[str]:
        """Names within the address."""
        return re.findall(r"<(?:\w+:)?(\w+)>", self.path)

    @property
    def says(self) -> str:
        """What it does, by its handler's docstring."""
        return inspect.getdoc(self.act) or ""


_routes: list[Route] = []


def route(method: str, path: str, *permissions: str, **said: Any) -> Callable[[Handler], Handler]:
    """Declare a handler, see :class:`Route`; ``status`` for its only one."""
    status = said.pop("status", None)
    if status is not None:
        said["statuses"] = (status,)

    def declare(act: Handler) -> Handler:
        _routes.append(Route(method=method, path=path, act=act, permissions=permissions, **said))
        return act

    return declare


def all_routes() -> list[Route]:
    """All of them, in order."""
    for name in _MODULES:
        import_module(f"taskyard.api.resources.{name}")
    order = {f"taskyard.api.resources.{name}": place for place, name in enumerate(_MODULES)}
    return sorted(_routes, key=lambda each: order[each.act.__module__])
