"""What may be asked of the list of sagas."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.utils import timezone

from taskyard.admin.jobs.filters import AGES, AgeFilter, few
from taskyard.admin.pages.lists import Choice, Chosen, TenantFilter
from taskyard.admin.pages.shown import SIGNS
from taskyard.operations import Actor
from taskyard.sagas.declaring import registry
from taskyard.sagas.reading.queries import SagaFilter
from taskyard.sagas.states import FINAL, SagaState
from taskyard.tasks.doors import door

_UNENDED = "unended"
#: A row of the project's own.
_SUBJECT = re.compile(r"(\w+\.\w+)[: ]\s*(\S.*)")


class StateFilter(Choice):
    """One state, or all that are not final; what a person has to look at first."""

    title = "state"
    parameter_name = "state"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        states = sorted(SagaState, key=lambda state: state is not SagaState.NEEDS_ATTENTION)
        names = [(state.value, f"{SIGNS[state]} {state.value.replace('_', ' ')}") for state in states]
        return [names[0], (_UNENDED, "not ended"), *names[1:]]


class NameFilter(Chosen):
    """One of the orchestrators, where there are few; else the one that was chosen in the list."""

    title = "name"
    parameter_name = "name"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        door("load_tasks")()
        return few(sorted({each.name for each in registry.all_definitions()}), self.value())


FILTERS: tuple[type[admin.SimpleListFilter], ...] = (StateFilter, AgeFilter, NameFilter, TenantFilter)


def wanted_of(asked: Mapping[str, Any], text: str) -> SagaFilter:
    """What the address of a list asks for, and what was typed; what it cannot mean is left out."""
    state, age, about = str(asked.get("state", "")), str(asked.get("age", "")), _SUBJECT.fullmatch(text)
    unended = tuple(each.value for each in SagaState if each not in FINAL)
    return SagaFilter(
        states=unended if state == _UNENDED else (state,) if state in set(SagaState) else (),
        name=text if text and about is None else str(asked.get("name", "")), tenant=asked.get("tenant"),
        since=timezone.now() - AGES[age] if age in AGES else None,
        subject=(about[1].lower(), about[2]) if about is not None else None,
    )  # fmt: skip


def id_of(text: str) -> uuid.UUID | None:
    """The id that a text is, if it is one."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
