"""The admin of tenants: what each has to do, what holds it back, what it may have; pause, resume, limit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from taskyard.admin.pages.asking import Done, NeededReasonForm, Question, answered, ask, open_verbs, require
from taskyard.admin.pages.lists import Choice, Listed
from taskyard.admin.pages.queues import LimitForm, limits
from taskyard.admin.pages.shown import ago, badge
from taskyard.admin.verbs import actor_of
from taskyard.jobs.pages.keyset import Page
from taskyard.jobs.pages.tenants import MOST_COUNTED
from taskyard.operations import Actor, tenants
from taskyard.operations.tenants import TenantGlance
from taskyard.outbox.models import TenantSetting
from taskyard.settings import get_settings

_VERBS = ("pause", "resume", "limit")
_SECOND = dt.timedelta(seconds=1)


class TenantLimitForm(LimitForm):
    """How much a tenant may have; an empty field is no limit."""

    weight = forms.FloatField(
        required=False, min_value=0, label="Weight", help_text="Its share against others that wait too; empty: 1."
    )
    field_order = ("weight",)


class OnlyFilter(Choice):
    """Those that somebody said something of, or that have something to do."""

    title = "state"
    parameter_name = "only"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        if not actor.is_for_all:
            return []
        return [("paused", "paused"), ("limited", "weighed or limited"), ("work", "has work")]


@admin.register(TenantSetting)
class TenantAdmin(Listed):
    """One page, which is the list, by name; to people of a tenant there is that one."""

    list_display = ("called", "waiting", "running", "failed", "allowed", "verbs")
    list_display_links = None
    list_filter = (OnlyFilter,)
    search_fields = ("tenant",)
    search_help_text = "The beginning of a name."
    change_list_template = "admin/taskyard/tenants.html"
    permission = "view_tenant"
    turning = ("First", "Next")

    def get_queryset(self, request: HttpRequest) -> Any:
        return TenantSetting.objects.none()

    def get_list_display(self, request: HttpRequest) -> Any:
        """What operators said of a tenant's share is for them."""
        shown = super().get_list_display(request)
        hidden = () if actor_of(request).is_for_all else ("allowed", "verbs")
        return [name for name in shown if name not in hidden]

    def find_page(self, request: HttpRequest, shown: Any, after: str) -> Page[Any]:
        actor = actor_of(request)
        only, prefix = str(shown.params.get("only", "")), shown.query.strip()
        found = tenants.page(actor, only=only, prefix=prefix, after=after, limit=self.list_per_page)
        links = _Links(self, request, actor)
        shown.is_short = found.is_cut
        return Page(tuple(_row(each, links) for each in found.rows), found.after)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, {"has_tenancy": bool(get_settings().tenancy), **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The list: a tenant has no page of its own."""
        answer: HttpResponse = self.changelist_view(request)
        return answer

    # -- the list -----------------------------------------------------------------------------------------------------

    @admin.display(description="tenant")
    def called(self, row: Any) -> SafeString:
        """Its name, which leads to its jobs, whether it is ready, and since when, by whom and why it is paused."""
        each: TenantGlance = row.glance
        name = row.links.to("job", each.name, text=each.name)
        state = badge(each.state) if each.state else ""
        why = format_html('<span class="taskyard-reason">{}</span>', each.why_not) if each.why_not else ""
        return format_html("{} {} {} {}", name, state, why, _paused(each.setting))

    @admin.display(description="waiting")
    def waiting(self, row: Any) -> str:
        """In the table or in the broker's window."""
        work = row.glance.work
        more = " or more" if work.is_more and work.waiting <= MOST_COUNTED else ""
        return f"{_most(work.waiting)}{more}"

    @admin.display(description="running")
    def running(self, row: Any) -> str:
        """How many run."""
        return f"{row.glance.work.running:,}"

    @admin.display(description="failed")
    def failed(self, row: Any) -> SafeString | str:
        """How many stand failed, which leads to their groups."""
        count = row.glance.failed
        return row.links.to("failuregroup", row.glance.name, text=_most(count)) if count else "0"

    @admin.display(description="share and limits")
    def allowed(self, row: Any) -> str:
        """What was said of it."""
        return _allowed(row.glance.setting) or "–"

    @admin.display(description="")
    def verbs(self, row: Any) -> SafeString:
        """What may be done."""
        setting = row.glance.setting
        is_paused = setting is not None and setting.paused_at is not None
        links: _Links = row.links
        return links.verbs(row.glance.name, without="pause" if is_paused else "resume")

    # -- the verbs ----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """``<verb>/<tenant>/``: the name of a tenant may be almost anything."""
        pages = [
            path(f"{verb}/<path:tenant>/", self.admin_site.admin_view(answered(getattr(self, verb))),
                 name=f"taskyard_tenantsetting_{verb}")
            for verb in _VERBS
        ]  # fmt: skip
        return [*pages, *super().get_urls()]

    def pause(self, request: HttpRequest, tenant: str) -> HttpResponse:
        """Feeds nothing of it until it is resumed."""
        require(request, "tenant", "pause")
        tenants.check_names([tenant])

        def do(said: Mapping[str, Any]) -> Done:
            changed = tenants.pause(actor_of(request), [tenant], reason=said["reason"])
            return Done(f"Tenant {tenant} {'is paused' if changed else 'was paused already'}.", self.at("changelist"))

        says = ["What runs, runs on; its other jobs, in all queues, wait in the table until it is resumed."]
        return ask(self, request, Question(**self._about("Pause", tenant), says=says, form=NeededReasonForm), do)

    def resume(self, request: HttpRequest, tenant: str) -> HttpResponse:
        """Feeds it again."""
        require(request, "tenant", "resume")
        tenants.check_names([tenant])

        def do(said: Mapping[str, Any]) -> Done:
            changed = tenants.resume(actor_of(request), [tenant], reason=said["reason"])
            return Done(f"Tenant {tenant} {'goes on' if changed else 'was not paused'}.", self.at("changelist"))

        says = ["Its jobs are fed to workers again."]
        return ask(self, request, Question(**self._about("Resume", tenant), says=says), do)

    def limit(self, request: HttpRequest, tenant: str) -> HttpResponse:
        """Says what its share is, and how much of it may run."""
        require(request, "tenant", "limit")
        tenants.check_names([tenant])
        row = TenantSetting.objects.filter(pk=tenant).first()
        initial = {"weight": 1.0} if row is None else {
            "weight": row.weight, "max_running": row.max_running, "rate": row.rate,
            "per": dt.timedelta(seconds=row.rate_seconds) if row.rate is not None else None,
        }  # fmt: skip

        def do(said: Mapping[str, Any]) -> Done:
            weight = 1.0 if said["weight"] is None else said["weight"]
            row = tenants.limit(
                actor_of(request), tenant, weight=weight, max_running=said["max_running"], rate=said["rate"],
                per=said["per"] or _SECOND,
            )  # fmt: skip
            return Done(f"Tenant {tenant}: {_allowed(row) or 'no limit'}.", self.at("changelist"))

        says = ["Over all queues together. Jobs that run already are left alone. Feeders notice within a second."]
        question = Question(**self._about("Limit", tenant), says=says, form=TenantLimitForm, initial=initial)
        return ask(self, request, question, do)

    def _about(self, verb: str, tenant: str) -> dict[str, Any]:
        return {"title": f"{verb} {tenant}", "button": verb, "back": self.at("changelist")}


class _Links:
    """Where the names and buttons of a list lead, for whoever looks."""

    def __init__(self, shown: TenantAdmin, request: HttpRequest, actor: Actor) -> None:
        self._site = shown.admin_site.name
        self._open = open_verbs(request, "tenant", _VERBS)
        self._lists = {
            model: reverse(f"admin:taskyard_{model}_changelist", current_app=self._site)
            for model, permission in (("job", "view_job"), ("failuregroup", "view_failure"))
            if actor.may(permission)
        }

    def to(self, model: str, tenant: str, *, text: str) -> SafeString | str:
        """A list of what is a tenant's."""
        if model not in self._lists:
            return text
        return format_html('<a href="{}?{}">{}</a>', self._lists[model], urlencode({"tenant": tenant}), text)

    def verbs(self, tenant: str, *, without: str) -> SafeString:
        """Buttons, but one."""
        buttons = (
            (reverse(f"admin:taskyard_tenantsetting_{verb}", args=[tenant], current_app=self._site), verb.capitalize())
            for verb in self._open
            if verb != without
        )
        return format_html_join(" ", '<a class="taskyard-button" href="{}">{}</a>', buttons)


def _row(glance: TenantGlance, links: _Links) -> Any:
    # The templates of the admin want a row.
    row: Any = TenantSetting(tenant=glance.name)
    row.glance, row.links = glance, links
    return row


def _paused(row: TenantSetting | None) -> SafeString | str:
    if row is None or row.paused_at is None:
        return ""
    by = f" by {row.paused_by}" if row.paused_by else ""
    why = f": {row.reason}" if row.reason else ""
    since = format_html("{}{}{}", ago(row.paused_at), by, why)
    return format_html('{} <span class="taskyard-reason">{}</span>', badge("paused"), since)


def _allowed(row: TenantSetting | None) -> str:
    if row is None:
        return ""
    weight = f"weight {row.weight:g}" if row.weight != 1 else ""
    return ", ".join(filter(None, (weight, limits(row))))


def _most(count: int) -> str:
    return f"more than {MOST_COUNTED:,}" if count > MOST_COUNTED else f"{count:,}"
