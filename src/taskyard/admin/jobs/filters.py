"""What may be asked of the list of jobs; :func:`wanted_of` reads all of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.utils import timezone

from taskyard.admin.form import task_names
from taskyard.admin.pages.lists import Choice, Chosen, TenantFilter
from taskyard.admin.pages.shown import SIGNS
from taskyard.jobs.queries import JobFilter
from taskyard.jobs.states import State
from taskyard.operations import Actor
from taskyard.operations.jobs import UNENDED
from taskyard.settings import get_settings

#: By their names in an address.
AGES = {"hour": dt.timedelta(hours=1), "day": dt.timedelta(days=1), "week": dt.timedelta(days=7)}
_UNENDED = "unended"
#: More names than these are typed, not chosen.
_MOST_NAMES = 20


class StateFilter(Choice):
    """One state, or all that are not final."""

    title = "state"
    parameter_name = "state"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return [(_UNENDED, "not ended"), *((state.value, f"{SIGNS[state]} {state.value}") for state in State)]


class AgeFilter(Choice):
    """Since when; of jobs that ended: ended since when."""

    title = "age"
    parameter_name = "age"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return [(name, f"of the last {name}") for name in AGES]


class TaskFilter(Chosen):
    """One of the tasks, where there are few; else the one that was chosen in the list."""

    title = "task"
    parameter_name = "task"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return few(task_names(), self.value())


class QueueFilter(Chosen):
    """One of the queues, or the one that was chosen."""

    title = "queue"
    parameter_name = "queue"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return few(list(get_settings().queues), self.value())


class GroupFilter(Chosen):
    """A group of failures, as its page links to its jobs."""

    title = "failures"
    parameter_name = "group"


FILTERS: tuple[type[admin.SimpleListFilter], ...] = (
    StateFilter, AgeFilter, TaskFilter, QueueFilter, TenantFilter, GroupFilter,
)  # fmt: skip


def few(names: list[str], chosen: Any) -> list[tuple[str, str]]:
    """Names to choose from, unless there are too many of them; with the one that was chosen."""
    shown = names if len(names) <= _MOST_NAMES else []
    if chosen and chosen not in shown:
        shown = [*shown, chosen]
    return [(name, name) for name in shown]


def wanted_of(asked: Mapping[str, Any]) -> JobFilter:
    """What the address of a list asks for; what it cannot mean is left out."""
    state, age = str(asked.get("state", "")), str(asked.get("age", ""))
    states = UNENDED if state == _UNENDED else (state,) if state in set(State) else ()
    return JobFilter(
        states=states, task=str(asked.get("task", "")), queue=str(asked.get("queue", "")), tenant=asked.get("tenant"),
        since=timezone.now() - AGES[age] if age in AGES else None, group=str(asked.get("group", "")),
    )  # fmt: skip
