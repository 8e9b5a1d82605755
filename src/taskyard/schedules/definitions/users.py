"""Schedules that the users of a tenant make themselves, within what ``TASKYARD["USER_SCHEDULES"]`` allows."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import models, transaction
from django.utils import timezone

from taskyard.enqueue import control_alias
from taskyard.errors import InvalidSchedule, NoTenant, UnknownSchedule
from taskyard.schedules.definitions import limits
from taskyard.schedules.definitions.changes import TAKEN
from taskyard.schedules.definitions.define import define, remove
from taskyard.schedules.definitions.definition import checked
from taskyard.schedules.models import USER, Occurrence, Schedule, ScheduleQuerySet
from taskyard.schedules.recurrence import Recurrence
from taskyard.settings import get_settings
from taskyard.tasks.task import Task
from taskyard.tenancy.directory import name_of

#: What is not for users to say: others would pay for it.
_NOT_THEIRS = ("tenant", "tenants", "spread", "origin", "queue", "priority", "database")


class TenantSchedules:
    """What users of one tenant see and do: schedules of their own, and nothing else, whoever is current.

    Those of other tenants do not exist for them, and those that the project made for their tenant are not theirs to
    change. Every verb is one of :class:`~taskyard.schedules.models.Schedule`, and made in the caller's transaction.
    """

    def __init__(self, tenant: Any) -> None:
        self.tenant = name_of(tenant)
        if not self.tenant:
            raise NoTenant("A schedule of a tenant's users")

    def all(self) -> ScheduleQuerySet:
        """All of them, by name."""
        return Schedule.objects.get_queryset().filter(tenant=self.tenant, origin=USER).order_by("name")

    def starting_with(self, prefix: str) -> ScheduleQuerySet:
        """Those whose name begins so."""
        return self.all().starting_with(prefix)

    def for_subject(self, instance: models.Model) -> ScheduleQuerySet:
        """Those about this row of the project's own."""
        return self.all().for_subject(instance)

    def get(self, name: str) -> Schedule:
        """The one of that name; raises :class:`~taskyard.errors.UnknownSchedule`."""
        row: Schedule | None = self.all().filter(name=name).first()
        if row is None:
            raise UnknownSchedule(name, self.tenant)
        return row

    def define(
        self, name: str, *, task: Task[Any, Any] | str, recurrence: Recurrence, by: Any = "", **said: Any
    ) -> Schedule:
        """As :meth:`Schedule.objects.define <taskyard.schedules.models.ScheduleManager.define>`, within the limits.

        The task must be one of those allowed, no two due times nearer than ``shortest_interval`` (as clocks show it),
        and the tenant's users may not have more than ``most_per_tenant``, disabled ones included; two at once cannot
        exceed that either. What an edit says is held to the same. Raises
        :class:`~taskyard.errors.InvalidSchedule` with all that is wrong.
        """
        problems = [f"{word} is not for users to say." for word in _NOT_THEIRS if word in said]
        if Schedule.objects.visible_to(self.tenant).filter(name=name).exclude(origin=USER).exists():
            problems.append(TAKEN)
        if problems:
            raise InvalidSchedule(name, problems)
        known = {word: value for word, value in said.items() if word not in ("subject", "enabled", "now")}
        task_name = task if isinstance(task, str) else task.name
        wanted = checked(name, {**known, "task": task_name, "recurrence": recurrence})
        limits.refuse(name, self.tenant, wanted=wanted)
        return define(
            name=name, task=task, recurrence=recurrence, by=by, tenant=self.tenant, origin=USER, **said
        )  # fmt: skip

    def enable(self, name: str) -> None:
        """Decide due times again, from the next one on, if the limits of today allow that."""
        self.get(name).enable()

    def disable(self, name: str) -> None:
        """Decide nothing until it is enabled again; its place stays taken."""
        self.get(name).disable()

    def remove(self, name: str) -> None:
        """Delete it with its decisions; its jobs stay."""
        remove(self.get(name).name, tenant=self.tenant)

    def run_now(self, name: str, *, by: Any = "", now: dt.datetime | None = None) -> Occurrence:
        """Run it once, now: not sooner than ``shortest_interval`` after its last run, and its overlap policy holds."""
        from taskyard.schedules.scheduler import run_now

        now, policy = now or timezone.now(), get_settings().user_schedules
        with transaction.atomic(using=control_alias()):
            row = Schedule.objects.select_for_update().get(pk=self.get(name).pk)
            free_at = row.last_at and policy and row.last_at + policy.shortest_interval
            if free_at and now < free_at:
                raise InvalidSchedule(name, [f"it ran at {row.last_at:%H:%M:%S} UTC; run it again after {free_at:%c}."])
            return run_now(row, by=by, now=now)
