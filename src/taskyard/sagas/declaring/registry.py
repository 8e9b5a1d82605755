"""Every orchestrator of this process, by name and version."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from taskyard.errors import InvalidOrchestrator, UnknownOrchestrator
from taskyard.sagas.declaring.definition import Definition
from taskyard.tasks.doors import door

if TYPE_CHECKING:
    from taskyard.sagas.declaring.orchestrator import Orchestrator

_definitions: dict[tuple[str, int], Definition] = {}


def register(definition: Definition) -> None:
    """Make it known; another class under the same name and version is refused."""
    other = _definitions.get(definition.key)
    if other is not None and _origin(other) != _origin(definition):
        raise InvalidOrchestrator(
            definition.name, [f"version {definition.version} is already declared in {other.cls.__module__}"]
        )
    slug = slug_of(definition.name)
    for name, _ in _definitions:
        if name != definition.name and slug_of(name) == slug:
            raise InvalidOrchestrator(definition.name, [f"{name!r} has the same name but for punctuation"])
    _definitions[definition.key] = definition


def find(name: str, version: int) -> Definition | None:
    """That version of it, or None."""
    return _definitions.get((name, version))


def latest(name: str) -> Definition:
    """Its highest version; raises :class:`~taskyard.errors.UnknownOrchestrator`."""
    found = [each for each in _definitions.values() if each.name == name]
    if not found:
        known = {each.name for each in _definitions.values()}
        raise UnknownOrchestrator(name, difflib.get_close_matches(name, known, n=1))
    return max(found, key=lambda each: each.version)


def get_orchestrator(name: str) -> type[Orchestrator]:
    """The class of its highest version; raises :class:`~taskyard.errors.UnknownOrchestrator`.

    Modules ``orchestrators`` and ``tasks`` of the project's apps are imported if nobody has yet.
    """
    if not any(known == name for known, _ in _definitions):
        door("load_tasks")()
    return latest(name).cls


def all_definitions() -> Iterator[Definition]:
    """All, by name and version."""
    return iter([_definitions[key] for key in sorted(_definitions)])


def slug_of(name: str) -> str:
    """The part of its tasks' names that is its own."""
    return name.replace(".", "_").replace("-", "_")


def _origin(definition: Definition) -> tuple[str, str]:
    return definition.cls.__module__, definition.cls.__qualname__
