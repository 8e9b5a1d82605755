"""Sagas that are on their way and that the code of this process cannot run."""

from __future__ import annotations

import dataclasses

from django.db.models import Count

from taskyard.sagas.declaring import registry
from taskyard.sagas.models import Saga
from taskyard.sagas.writing import store


@dataclasses.dataclass(frozen=True, slots=True)
class Stranded:
    """Those of one version of an orchestrator."""

    name: str
    version: int
    count: int
    #: The version is known, and its steps are others than those they began with.
    has_other_steps: bool

    def __str__(self) -> str:
        why = "has other steps in the code than they began with" if self.has_other_steps else "is not in the code"
        are = "1 saga is" if self.count == 1 else f"{self.count:,} sagas are"
        return f"{are} on the way by version {self.version} of {self.name!r}, which {why}"


def find_stranded() -> list[Stranded]:
    """All of them, by name and version. The project's orchestrators must have been imported."""
    found = []
    groups = Saga.objects.active().values("name", "version", "plan").annotate(count=Count("id"))
    for group in groups.order_by("name", "version"):
        definition = registry.find(group["name"], group["version"])
        if definition is None or not definition.plan.matches(store.plan_of(group["plan"])):
            found.append(Stranded(group["name"], group["version"], group["count"], definition is not None))
    return found
