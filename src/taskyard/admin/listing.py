"""Lists that stay fast where there are very many rows: each question goes through an index, and nothing is counted."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet
from django.utils import timezone

from taskyard.schedules.decisions import Decision
from taskyard.schedules.indexes import held, named_like
from taskyard.schedules.models import Schedule

#: Rows that can be leafed through; who looks for one among more searches.
MOST_ROWS = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than :data:`MOST_ROWS`."""

    @cached_property
    def _found(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: MOST_ROWS + 1].count())

    @property
    def is_capped(self) -> bool:
        """Whether there are more than can be leafed through."""
        return self._found > MOST_ROWS

    @property
    def count(self) -> int:
        """How many there are, or how many can be leafed through."""
        return min(self._found, MOST_ROWS)

    def page(self, number: Any) -> Any:
        """One page: first its keys, out of an index alone, then its rows; MariaDB would sort the whole table else."""
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        rows: Any = self.object_list
        keys = list(rows.values_list("pk", flat=True)[first : min(first + self.per_page, self.count)])
        return Page(rows.filter(pk__in=keys), number, self)


class ScheduleList(ChangeList):
    """Ordered by name or by the next due time, both ways: those are the orders that indexes have."""

    def get_ordering(self, request: Any, queryset: Any) -> list[Any]:
        asked = str(self.params.get(ORDER_VAR, "")).split(".")[0]
        number = asked.removeprefix("-")
        sign = "-" if asked.startswith("-") else ""
        is_known = number.isdecimal() and int(number) < len(self.list_display)
        if is_known and self.list_display[int(number)] == "next_run":
            # No more than the index has: very many may be due at one instant, and would be sorted first.
            return [f"{sign}keeper", f"{sign}next_at"]
        return [f"{sign}tenant", f"{sign}name"]

    def get_queryset(self, request: Any, exclude_parameters: Any = None) -> Any:
        # They may be long, and the list does not show them.
        return super().get_queryset(request, exclude_parameters).defer("args", "kwargs", "description", "bounds")


class OccurrenceList(ChangeList):
    """The latest decision first."""

    def get_ordering(self, request: Any, queryset: Any) -> list[Any]:
        # Of one schedule, its own index has them in the order of their due times.
        return ["-due_at", "-tenant"] if self.params.get("schedule__id__exact") else ["-id"]


class VersionList(ChangeList):
    """The latest version first."""

    def get_ordering(self, request: Any, queryset: Any) -> list[Any]:
        return ["-version", "-id"] if self.params.get("schedule__id__exact") else ["-id"]


class StateFilter(admin.SimpleListFilter):
    """What runs, and what does not."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [("on", "On"), ("paused", "Paused"), ("disabled", "Disabled"), ("parked", "Parked with an error"),
                ("still", "Has no next due time")]  # fmt: skip

    def queryset(self, request: Any, queryset: QuerySet[Schedule]) -> QuerySet[Schedule]:
        now = timezone.now()
        match self.value():
            case "on":
                runs = Q(paused_at__isnull=True) | Q(paused_until__lte=now)
                return queryset.filter(runs, next_at__isnull=False)
            case "paused":
                return held(queryset, "paused").filter(Q(paused_until__isnull=True) | Q(paused_until__gt=now))
            case "disabled":
                return held(queryset, "disabled")
            case "parked":
                return held(queryset, "parked")
            case "still":
                return queryset.filter(next_at__isnull=True)
        return queryset


class TenantFilter(admin.SimpleListFilter):
    """The tenant that was chosen in the list or searched for; all of them would be too many to show."""

    title = "tenant"
    parameter_name = "tenant"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [(self.value() or "", self.value() or "none")] if self.value() is not None else []

    def queryset(self, request: Any, queryset: QuerySet[Schedule]) -> QuerySet[Schedule]:
        return queryset if self.value() is None else queryset.filter(tenant=self.value())


class DecisionFilter(admin.SimpleListFilter):
    """One kind of decision; among all schedules, of the last day, because rare ones would be looked for for long."""

    title = "decision (of all schedules: since yesterday)"
    parameter_name = "decision"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [(decision.value, decision.value) for decision in Decision]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        found = queryset.filter(decision=self.value())
        if "schedule__id__exact" in request.GET:
            return found
        return found.filter(decided_at__gte=timezone.now() - dt.timedelta(days=1))


def search(rows: QuerySet[Schedule], text: str) -> QuerySet[Schedule]:
    """Schedules whose name begins so; ``tenant:name`` looks among that tenant's, ``tenant:`` shows all of them."""
    tenant, colon, rest = text.partition(":")
    if colon and tenant and rows.filter(tenant=tenant).exists():
        own = rows.filter(tenant=tenant)
        return named_like(own, rest) if rest else own
    return named_like(rows, text)
