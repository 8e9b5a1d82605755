"""The admin of batches: how far each is, which of its members failed, and cancelling one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from taskyard.admin.pages.asking import Done, Question, answered, ask, open_verbs, require
from taskyard.admin.pages.lists import Choice, Listed, TenantFilter, link
from taskyard.admin.pages.shown import SIGNS, ago, badge, bar, exact, named
from taskyard.admin.verbs import actor_of
from taskyard.batches.decision import BatchState
from taskyard.batches.models import Batch
from taskyard.batches.queries import BatchFilter, Reading
from taskyard.errors import NotFound
from taskyard.jobs.pages.keyset import Page
from taskyard.monitoring.words import counted, duration
from taskyard.operations import Actor, batches


class StateFilter(Choice):
    """One state."""

    title = "state"
    parameter_name = "state"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return [(state.value, f"{SIGNS.get(state.value, '·')} {state.value}") for state in BatchState]


@admin.register(Batch)
class BatchAdmin(Listed):
    """Batches, the newest first."""

    list_display = ("named", "state_now", "far", "ended_well", "ended_badly", "whose", "began", "news")
    list_filter = (StateFilter, TenantFilter)
    search_fields = ("name",)
    search_help_text = "The whole name of a batch, or its id."
    permission = "view_batch"

    def get_queryset(self, request: HttpRequest) -> Any:
        return Batch.objects.visible_to(actor_of(request).tenant)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without the tenant where there is but one."""
        shown = super().get_list_display(request)
        return shown if actor_of(request).is_for_all else [name for name in shown if name != "whose"]

    @answered
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, extra_context)

    def find_page(self, request: HttpRequest, shown: Any, after: str) -> Page[Any]:
        actor, text, state = actor_of(request), shown.query.strip(), str(shown.params.get("state", ""))
        if (batch_id := _id_of(text)) is not None:
            return Page(tuple(_row(each) for each in [_found(actor, batch_id)] if each is not None))
        states = (state,) if state in set(BatchState) else ()
        wanted = BatchFilter(states=states, name=text, tenant=shown.params.get("tenant"))
        found = batches.list_(actor, wanted, after=after, limit=self.list_per_page)
        return Page(tuple(map(_row, found.rows)), found.after, found.is_cut)

    # -- the list -----------------------------------------------------------------------------------------------------

    @admin.display(description="batch")
    def named(self, row: Any) -> SafeString:
        """Its name, and its id."""
        return named(row.name, row.id)

    @admin.display(description="state")
    def state_now(self, row: Any) -> SafeString:
        """As a word, with its sign."""
        return _badge(row.reading)

    @admin.display(description="done")
    def far(self, row: Any) -> SafeString | str:
        """How far it is."""
        return bar(row.reading.current, row.reading.total) if row.reading.total else "no members"

    @admin.display(description="succeeded")
    def ended_well(self, row: Any) -> str:
        """How many did."""
        return f"{row.reading.succeeded:,}"

    @admin.display(description="failed")
    def ended_badly(self, row: Any) -> str:
        """How many did."""
        return f"{row.reading.failed:,}"

    @admin.display(description="tenant")
    def whose(self, row: Any) -> SafeString | str:
        """A link to all of that tenant's."""
        return link(row.tenant, tenant=row.tenant) if row.tenant else "–"

    @admin.display(description="began")
    def began(self, row: Any) -> SafeString | str:
        """When it was opened."""
        return ago(row.reading.started_at)

    @admin.display(description="last news")
    def news(self, row: Any) -> SafeString | str:
        """When something of it was heard last."""
        return ago(row.reading.updated_at)

    # -- the page -----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """``<id>/cancel/``, before Django's own."""
        view = self.admin_site.admin_view(answered(self.cancel))
        return [path("<uuid:batch_id>/cancel/", view, name="taskyard_batch_cancel"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Everything about one."""
        return answered(self._page)(request, object_id)

    def _page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        actor, batch_id = actor_of(request), _id_of(object_id)
        if batch_id is None:
            raise Http404
        found = batches.show(actor, batch_id)
        may_cancel = found.state == BatchState.RUNNING and bool(open_verbs(request, "batch", ["cancel"]))
        jobs_at = reverse("admin:taskyard_job_changelist", current_app=self.admin_site.name)
        context = self.context(
            request, found.name, batch=found, state=_badge(found), far=bar(found.current, found.total),
            facts=[(name, value) for name, value in _facts(found) if value], may_cancel=may_cancel,
            jobs_at=jobs_at if actor.may("view_job") else "",
        )  # fmt: skip
        return TemplateResponse(request, "admin/taskyard/batch/page.html", context)

    def cancel(self, request: HttpRequest, batch_id: uuid.UUID) -> HttpResponse:
        """Cancels its members and the next stage."""
        require(request, "batch", "cancel")
        actor = actor_of(request)
        found = batches.show(actor, batch_id)
        at = self.at("change", batch_id)
        left = int(found.total or 0) - int(found.current)
        question = Question(
            title="Cancel this batch", button="Cancel it", back=at, is_grave=True,
            about=[(f"{found.name} {batch_id}", at)],
            says=[f"{counted(left, 'member has', more='members have')} not ended. Those that run are asked to stop, "
                  "the others are cancelled. The next stage does not start."],
        )  # fmt: skip

        def do(said: Mapping[str, Any]) -> Done:
            batches.cancel(actor, batch_id, reason=said["reason"])
            return Done("The batch is cancelled; members that run are asked to stop.", at)

        return ask(self, request, question, do)


def _facts(found: Reading) -> Iterator[tuple[str, Any]]:
    yield "Members", f"{int(found.total or 0):,}"
    yield "Ended", f"{found.succeeded:,} succeeded, {found.failed:,} failed, {found.cancelled:,} cancelled"
    yield "Not ended", ", ".join(f"{count:,} {state}" for state, count in sorted(found.unfinished.items()))
    yield "Rate", f"{found.rate:,.1f} a second" if found.rate else ""
    yield "Left", f"about {duration(found.remaining_seconds)}" if found.remaining_seconds else ""
    yield "Tenant", found.tenant
    yield "Began", exact(found.started_at)
    yield "Last news", exact(found.updated_at)
    yield "Ended at", exact(found.finished_at) if found.finished_at else ""


def _badge(found: Reading) -> SafeString:
    if found.is_stale:
        return badge("stale", "no news for long")
    is_ending = found.cancel_requested_at is not None and found.finished_at is None
    return badge(found.state, "being cancelled" if is_ending else "")


def _found(actor: Actor, batch_id: uuid.UUID) -> Reading | None:
    try:
        return batches.show(actor, batch_id)
    except NotFound:
        return None


def _id_of(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _row(found: Reading) -> Any:
    # The templates of the admin want a row.
    row: Any = Batch(id=found.id, name=found.name, tenant=found.tenant, state=found.state)
    row.reading = found
    return row
