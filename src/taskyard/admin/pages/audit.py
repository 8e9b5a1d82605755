"""The admin of the audit: who did what to what, and from where. Only read."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from taskyard.admin.fields import json_text
from taskyard.admin.pages.asking import answered
from taskyard.admin.pages.lists import Choice, Chosen, Listed, link
from taskyard.admin.pages.shown import admin_link, ago, exact, named
from taskyard.admin.verbs import actor_of
from taskyard.jobs.pages.keyset import Page
from taskyard.operations import Actor, audit
from taskyard.operations.acting.verbs import all_verbs
from taskyard.operations.audit import AuditFilter
from taskyard.operations.models import AuditEntry

_AGES = {"day": dt.timedelta(days=1), "week": dt.timedelta(days=7), "month": dt.timedelta(days=30)}


class VerbFilter(Choice):
    """One verb."""

    title = "verb"
    parameter_name = "verb"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted({each.name for each in all_verbs() if not each.reads})]


class KindFilter(Choice):
    """What it was done to."""

    title = "kind"
    parameter_name = "kind"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted({each.kind for each in all_verbs() if not each.reads})]


class AgeFilter(Choice):
    """Since when."""

    title = "age"
    parameter_name = "age"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return [(name, f"of the last {name}") for name in _AGES]


class WhoFilter(Chosen):
    """Who did it, as chosen in the list."""

    title = "who"
    parameter_name = "who"


class TargetFilter(Chosen):
    """One thing, whatever was done to it."""

    title = "target"
    parameter_name = "target"


@admin.register(AuditEntry)
class AuditAdmin(Listed):
    """What was done; a tenant's people see what was done to theirs."""

    list_display = ("told", "when", "person", "changed", "why", "place")
    list_filter = (VerbFilter, KindFilter, AgeFilter, WhoFilter, TargetFilter)
    search_fields = ("who",)
    search_help_text = "A name, or a user's primary key; or the whole id or name of what it was done to."
    permission = "view_auditentry"

    def get_queryset(self, request: HttpRequest) -> Any:
        return AuditEntry.objects.visible_to(actor_of(request).tenant)

    def find_page(self, request: HttpRequest, shown: Any, after: str) -> Page[AuditEntry]:
        asked, text = shown.params, shown.query.strip()
        said = {name: str(asked.get(name, "")) for name in ("kind", "verb", "who", "target")}
        age = _AGES.get(str(asked.get("age", "")))
        wanted = AuditFilter(**said, since=timezone.now() - age if age else None, text=text)
        return audit.page(actor_of(request), wanted, after=after, limit=self.list_per_page)

    @admin.display(description="what")
    def told(self, row: AuditEntry) -> SafeString:
        """The verb and its target."""
        return named(f"{row.verb} {row.kind}", row.target[:100])

    @admin.display(description="when")
    def when(self, row: AuditEntry) -> SafeString | str:
        """How long ago."""
        return ago(row.at)

    @admin.display(description="who")
    def person(self, row: AuditEntry) -> SafeString:
        """A link to all of theirs."""
        return link(row.who, who=row.user or row.who)

    @admin.display(description="changed")
    def changed(self, row: AuditEntry) -> str:
        """How many."""
        return "–" if row.count is None else f"{row.count:,}"

    @admin.display(description="reason")
    def why(self, row: AuditEntry) -> str:
        """As it was given."""
        return row.reason

    @admin.display(description="from")
    def place(self, row: AuditEntry) -> str:
        """By what, and from which address."""
        return " ".join(filter(None, (row.via, row.address)))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Everything an entry says."""
        return answered(self._page)(request, object_id)

    def _page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        actor = actor_of(request)
        actor.require(self.permission)
        row = self.get_queryset(request).filter(pk=int(object_id)).first() if object_id.isdecimal() else None
        if row is None:
            raise Http404
        facts = [
            ("Who", f"{row.who}, user {row.user}" if row.user else row.who), ("When", exact(row.at)),
            ("What", f"{row.verb} {row.kind}"), ("Target", self._target(actor, row)),
            ("Tenant", row.tenant), ("Changed", self.changed(row)), ("Reason", row.reason), ("From", self.place(row)),
            ("Job that does it", self._job(actor, row.job)), ("Asked for", _json(row.said)),
            ("Before", _json(row.before)), ("After", _json(row.after)),
        ]  # fmt: skip
        context = self.context(request, str(row), facts=[(name, value) for name, value in facts if value])
        return TemplateResponse(request, "admin/taskyard/facts.html", context)

    def _target(self, actor: Actor, row: AuditEntry) -> SafeString | str:
        asked = urlencode({"kind": row.kind, "target": row.target})
        more = admin_link(f"{self.at('changelist')}?{asked}", "all about it")
        is_job = row.kind == "job" and row.before is not None
        return format_html("{} · {}", self._job(actor, row.target) if is_job else row.target, more)

    def _job(self, actor: Actor, job_id: Any) -> SafeString | str:
        if not job_id or not actor.may("view_job"):
            return str(job_id or "")
        at = reverse("admin:taskyard_job_change", args=[job_id], current_app=self.admin_site.name)
        return admin_link(at, str(job_id))


def _json(value: Any) -> SafeString | str:
    return "" if value is None else format_html("<pre>{}</pre>", json_text(value))
