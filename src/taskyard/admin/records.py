"""Decisions and versions: written by the scheduler and by changes, read here, changed by nobody."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskyard.admin import listing, words
from taskyard.admin.fields import json_text
from taskyard.admin.verbs import actor_of
from taskyard.enqueue import control_alias
from taskyard.operations import Actor
from taskyard.schedules.models import Occurrence, Schedule, ScheduleVersion

#: Of each, on the page of a schedule.
_SHOWN = 10


def last_decisions(row: Schedule) -> list[Occurrence]:
    """The latest ones of a schedule."""
    found = list(Occurrence.objects.all().filter(schedule=row).order_by("-due_at", "-tenant")[:_SHOWN])
    names = words.names_of(each.actor for each in found)
    for each in found:
        each.actor = names.get(each.actor, "")
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """A version, and what it changed."""

    number: int
    since: Any
    actor: str
    changes: Sequence[words.Difference] = ()


def last_versions(row: Schedule, actor: Actor) -> list[Version]:
    """The latest ones of a schedule, each with what it says otherwise than the one before it."""
    rows = ScheduleVersion.objects.using(control_alias()).filter(schedule=row)
    found = list(rows.order_by("-version")[: _SHOWN + 1])
    names = words.names_of(each.actor for each in found)
    before: list[Any] = [*(each.definition for each in found[1:]), None]
    return [
        Version(
            each.version, each.since, names.get(each.actor, ""),
            words.told(actor, words.differences(earlier, each.definition)) if earlier is not None else (),
        )
        for each, earlier in zip(found[:_SHOWN], before, strict=False)
    ]  # fmt: skip


class _Record(admin.ModelAdmin):  # type: ignore[type-arg]
    """Only read."""

    actions = None
    list_per_page = 50
    paginator = listing.CappedPaginator
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ()
    list_select_related = ("schedule",)

    class Media:
        css: ClassVar = {"all": ["taskyard/admin/schedule.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        shown = super().get_changelist_instance(request)
        shown.result_list = rows = list(shown.result_list)
        names = words.names_of(row.actor for row in rows)
        for row in rows:
            row.actor = names.get(row.actor, "")
        return shown

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """On the control database; those of schedules that exist for whoever asks."""
        rows: QuerySet[Any] = self.model._default_manager.using(control_alias())
        actor = actor_of(request)
        own = rows.filter(schedule__tenant=actor.tenant, schedule__tenants__isnull=True)
        return rows.all() if actor.is_for_all else own

    @admin.display(description="schedule")
    def of_schedule(self, row: Any) -> SafeString:
        """A link to it."""
        at = reverse("admin:taskyard_schedule_change", args=[row.schedule_id], current_app=self.admin_site.name)
        return format_html('<a href="{}">{}</a>', at, row.schedule)

    @admin.display(description="by")
    def who(self, row: Any) -> str:
        """The user's name, or what else signed."""
        return words.names_of([row.actor]).get(row.actor, "–")


@admin.register(Occurrence)
class OccurrenceAdmin(_Record):
    """What was decided about each due time, and why."""

    list_display = ("due", "of_schedule", "decision", "reason", "job", "mark", "version", "actor")
    list_filter = (listing.DecisionFilter,)
    fields = (
        "of_schedule", "tenant", "due", "effective", "mark", "decided", "decision", "reason", "job", "jobs", "version",
        "who", "lock",
    )  # fmt: skip

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[listing.OccurrenceList]:
        return listing.OccurrenceList

    @admin.display(description="due")
    def due(self, row: Occurrence) -> str:
        """The instant it was due, before jitter."""
        return words.moment(row.due_at)

    @admin.display(description="runs at")
    def effective(self, row: Occurrence) -> str:
        """With jitter, and after a change of the clocks was seen to."""
        return words.moment(row.effective_at)

    @admin.display(description="decided")
    def decided(self, row: Occurrence) -> str:
        """When somebody saw to it."""
        return words.moment(row.decided_at)


@admin.register(ScheduleVersion)
class ScheduleVersionAdmin(_Record):
    """A definition as it was from a time on."""

    list_display = ("version", "of_schedule", "from_when", "actor")
    fields = ("of_schedule", "version", "from_when", "who", "said")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[listing.VersionList]:
        return listing.VersionList

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A definition is shown whole, with its arguments."""
        return super().has_view_permission(request, obj) and actor_of(request).sees_payload

    @admin.display(description="since")
    def from_when(self, row: ScheduleVersion) -> str:
        """When it was written."""
        return words.moment(row.since)

    @admin.display(description="definition")
    def said(self, row: ScheduleVersion) -> SafeString:
        """As it is stored, without secrets."""
        return format_html("<pre>{}</pre>", json_text(words.seen(row.definition)))
