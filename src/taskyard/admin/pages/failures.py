"""The admin of failures: what stands failed, grouped by what went wrong; mend it, set it aside, leave it for later."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskyard.admin.jobs import facts
from taskyard.admin.pages.asking import answered, open_verbs
from taskyard.admin.pages.lists import Choice, TenantFilter
from taskyard.admin.pages.mending import VERBS, Mending, fits
from taskyard.admin.pages.shown import SIGNS, ago, badge, exact, named, shortened, sparkline
from taskyard.admin.verbs import actor_of
from taskyard.admin.words import moment
from taskyard.errors import NotFound
from taskyard.failures.models import FailureGroup
from taskyard.failures.queries import GroupFilter, GroupOverview, GroupPlace
from taskyard.jobs.pages.keyset import Page
from taskyard.monitoring.words import counted
from taskyard.operations import Actor, failures, jobs

_ANY = "any"
_MOST_MESSAGE = 160
#: Jobs that the page of a group names.
_SHOWN = 10


class StateFilter(Choice):
    """What somebody has to look at, unless something else is asked for."""

    title = "state"
    parameter_name = "state"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return [(name, f"{SIGNS[name]} {name}") for name in ("snoozed", "resolved")] + [(_ANY, "all")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        first, *others = super().choices(changelist)
        yield {**first, "display": f"{SIGNS['open']} open"}
        yield from others


@admin.register(FailureGroup)
class FailureAdmin(Mending):
    """Groups, those that failed last first."""

    list_display = ("told", "count", "tenants", "trend", "last", "first", "state_now")
    list_filter = (StateFilter, TenantFilter)
    search_fields = ("task",)
    search_help_text = "The beginning of a task's name, or the fingerprint of a group."
    permission = "view_failure"

    def get_queryset(self, request: HttpRequest) -> Any:
        return FailureGroup.objects.none()

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without the tenants where there is but one."""
        shown = super().get_list_display(request)
        return shown if actor_of(request).is_for_all else [name for name in shown if name != "tenants"]

    @answered
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, extra_context)

    def find_page(self, request: HttpRequest, shown: Any, after: str) -> Page[Any]:
        state, text = str(shown.params.get("state", "")), shown.query.strip()
        is_any = state == _ANY or _is_fingerprint(text)
        asked = {"fingerprint": text} if _is_fingerprint(text) else {"task": f"{text}*" if text else ""}
        tenant = shown.params.get("tenant")
        wanted = GroupFilter(state="" if is_any else state or "open", empty=is_any, tenant=tenant, **asked)
        limit = self.list_per_page
        found = failures.list_(actor_of(request), wanted, after=_place_of(after), limit=limit + 1)
        last = GroupPlace.of(found[limit - 1]) if len(found) > limit else None
        return Page(tuple(map(_row, found[:limit])), tuple(last) if last else None)

    # -- the list -----------------------------------------------------------------------------------------------------

    @admin.display(description="what went wrong")
    def told(self, row: Any) -> SafeString:
        """The error, its task, and its words."""
        group: GroupOverview = row.group
        what = named(group.error_type.rpartition(".")[2] or group.reason, group.task)
        return format_html('{} <span class="taskyard-reason">{}</span>', what, shortened(group.message, _MOST_MESSAGE))

    @admin.display(description="jobs")
    def count(self, row: Any) -> str:
        """How many stand failed."""
        return f"{row.group.count:,}"

    @admin.display(description="tenants")
    def tenants(self, row: Any) -> str:
        """How many are affected."""
        return f"{row.group.tenants:,}" if row.group.tenants else "–"

    @admin.display(description="last 24 hours")
    def trend(self, row: Any) -> SafeString | str:
        """Hour by hour."""
        return sparkline(row.group.trend) or "–"

    @admin.display(description="last")
    def last(self, row: Any) -> SafeString | str:
        """Of those that stand failed."""
        return ago(row.group.last_seen_at)

    @admin.display(description="first")
    def first(self, row: Any) -> SafeString | str:
        """Ever."""
        return ago(row.group.first_seen_at)

    @admin.display(description="state")
    def state_now(self, row: Any) -> SafeString:
        """As a word, with its sign."""
        return badge(row.group.state, "back" if row.group.reopened_at else "")

    # -- the page -----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """``<fingerprint>/retry/`` and so on, before Django's own."""
        pages = [
            path(f"<str:fingerprint>/{verb}/", self.admin_site.admin_view(answered(getattr(self, verb))),
                 name=f"taskyard_failuregroup_{verb}")
            for verb in VERBS
        ]  # fmt: skip
        return [*pages, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Everything about one group, its last failure, and jobs that stand failed in it."""
        return answered(self._page)(request, object_id)

    def _page(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        actor = actor_of(request)
        group = failures.show(actor, fingerprint)
        rows, after = failures.jobs_of(actor, fingerprint, limit=_SHOWN) if actor.may("view_job") else ([], None)
        verbs = [(verb, VERBS[verb]) for verb in open_verbs(request, "failure", list(VERBS)) if fits(verb, group)]
        context = self.context(
            request, group.error_type or group.reason, group=group, trend=sparkline(group.trend), verbs=verbs,
            state=badge(group.state), facts=[(name, value) for name, value in _facts(group) if value], rows=rows,
            has_more=after is not None, attempts=_last_attempts(actor, group),
            jobs_at=reverse("admin:taskyard_job_changelist", current_app=self.admin_site.name),
        )  # fmt: skip
        return TemplateResponse(request, "admin/taskyard/failuregroup/page.html", context)


def _facts(group: GroupOverview) -> Iterator[tuple[str, Any]]:
    yield "Message", group.message
    yield "Reason", group.reason
    yield "Task", group.task
    yield "Where", " → ".join(group.frames)
    of = f" of {group.tenants:,} tenants" if group.tenants > 1 else ""
    yield "Stand failed", f"{counted(group.count, 'job', more='jobs')}{of}"
    release = f", release {group.first_release}" if group.first_release else ""
    yield "First seen", format_html("{}{}", exact(group.first_seen_at), release)
    yield "Last seen", exact(group.last_seen_at) if group.last_seen_at else ""
    yield "Back since", exact(group.reopened_at) if group.reopened_at else ""
    yield "Snoozed until", moment(group.snoozed_until) if group.snoozed_until else ""
    yield "Snoozed while", f"release {group.snoozed_release} runs" if group.snoozed_release else ""
    yield "Note", group.note


def _last_attempts(actor: Actor, group: GroupOverview) -> list[dict[str, Any]]:
    """How the last one of them failed."""
    if group.sample_job is None or not actor.may("view_job"):
        return []
    try:
        return facts.attempts(jobs.show(actor, group.sample_job))[:1]
    except NotFound:
        # Deleted meanwhile.
        return []


def _is_fingerprint(text: str) -> bool:
    return re.fullmatch(r"\d+-[0-9a-f]{16}", text) is not None


def _place_of(text: str) -> GroupPlace | None:
    at, _, fingerprint = text.partition("~")
    try:
        return GroupPlace(dt.datetime.fromisoformat(at), fingerprint) if text else None
    except ValueError:
        return None


def _row(group: GroupOverview) -> Any:
    # The templates of the admin want a row.
    row: Any = FailureGroup(fingerprint=group.fingerprint, task=group.task, error_type=group.error_type)
    row.group = group
    return row
