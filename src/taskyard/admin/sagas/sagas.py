"""The admin of sagas: which need somebody, why each waits, what its steps did and when, what one may do."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskyard.admin.pages.asking import answered
from taskyard.admin.pages.lists import link
from taskyard.admin.pages.shown import ago, badge, named, shortened
from taskyard.admin.sagas import facts
from taskyard.admin.sagas.drawing import draw
from taskyard.admin.sagas.filters import FILTERS, id_of, wanted_of
from taskyard.admin.sagas.offers import offers
from taskyard.admin.sagas.verbs import WithVerbs
from taskyard.admin.verbs import actor_of
from taskyard.errors import NotFound
from taskyard.jobs.models import Job
from taskyard.jobs.pages.keyset import Page
from taskyard.jobs.queries import reason_of
from taskyard.operations import Actor, sagas
from taskyard.sagas.models import Saga
from taskyard.sagas.reading.queries import MOST_COUNTED, SagaReading, SagaSummary, needing_attention
from taskyard.sagas.states import SagaState
from taskyard.sagas.writing.jobs import SUBJECT

_MOST_REASON = 120
#: Lines of a history that are shown without opening it.
_FEW_LINES = 12


@admin.register(Saga)
class SagaAdmin(WithVerbs):
    """Every saga, or a tenant's own; writes through :mod:`taskyard.operations` alone."""

    change_list_template = "admin/taskyard/saga/list.html"
    list_display = ("called", "state_now", "whose", "about", "when")
    list_filter = FILTERS
    search_fields = ("id",)
    search_help_text = (
        "A saga's id, or that of one of its jobs; label.model:key, the row it is about; or the whole name of an "
        "orchestrator."
    )
    permission = "view_saga"

    class Media:
        css: ClassVar = {"all": ["taskyard/admin/sagas.css"]}

    def get_queryset(self, request: HttpRequest) -> Any:
        return Saga.objects.visible_to(actor_of(request).tenant)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without the tenant where there is but one."""
        shown = super().get_list_display(request)
        return shown if actor_of(request).is_for_all else [name for name in shown if name != "whose"]

    def find_page(self, request: HttpRequest, shown: Any, after: str) -> Page[Any]:
        actor, text = actor_of(request), shown.query.strip()
        if (wanted_id := id_of(text)) is not None:
            found = _found(actor, wanted_id) or _found(actor, _saga_of_job(actor, wanted_id))
            return Page(() if found is None else (_row(found),))
        page = sagas.list_(actor, wanted_of(shown.params, text), after=after, limit=self.list_per_page)
        return Page(tuple(map(_row, page.rows)), page.after, page.is_cut)

    @answered
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """With what somebody has to look at above it."""
        actor = actor_of(request)
        is_asked = request.GET.get("state") == SagaState.NEEDS_ATTENTION.value
        if is_asked or not actor.may(self.permission):
            return super().changelist_view(request)
        stuck = needing_attention(tenant=actor.tenant)
        count = f"{stuck.count:,}{' or more' if stuck.count >= MOST_COUNTED else ''}"
        more = {"stuck": stuck, "stuck_count": count, "stuck_since": ago(stuck.oldest_at)}
        return super().changelist_view(request, more)

    # -- the list -----------------------------------------------------------------------------------------------------

    @admin.display(description="saga")
    def called(self, row: Any) -> SafeString:
        """Its name, and its id."""
        return named(row.name, row.id)

    @admin.display(description="state")
    def state_now(self, row: Any) -> SafeString:
        """As a word with its sign, and why."""
        found: SagaSummary = row.summary
        state = badge(found.state, f"to be {found.wish}" if found.wish and not found.finished_at else "")
        error = dict((found.state != SagaState.COMPLETED and (found.stuck or found.error)) or {})
        # Its module would take the room of its words.
        why = reason_of({**error, "type": str(error.get("type") or "").rpartition(".")[2]})
        said = format_html(' <span class="taskyard-reason">{}</span>', shortened(why, _MOST_REASON)) if why else ""
        return format_html("{}{}", state, said)

    @admin.display(description="tenant")
    def whose(self, row: Any) -> SafeString | str:
        """A link to all of that tenant's."""
        return link(row.tenant, tenant=row.tenant) if row.tenant else "–"

    @admin.display(description="about")
    def about(self, row: Any) -> SafeString | str:
        """A link to all about that row of the project's own."""
        found: SagaSummary = row.summary
        about = f"{found.subject_type}:{found.subject_id}"
        return link(about, q=about) if found.subject_type else "–"

    @admin.display(description="when")
    def when(self, row: Any) -> SafeString:
        """It began, and when something happened to it last."""
        found: SagaSummary = row.summary
        last = ("ended", found.finished_at) if found.finished_at else ("changed", found.updated_at)
        return format_html('started {} <span class="taskyard-reason">{} {}</span>', ago(found.created_at), last[0],
                           ago(last[1]))  # fmt: skip

    # -- the page -----------------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Everything about one."""
        return answered(self._page)(request, object_id)

    def _page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        saga_id = id_of(object_id)
        if saga_id is None:
            raise Http404
        saga = sagas.show(actor_of(request), saga_id)
        told, offered = facts.Facts(self, request, saga), offers(request, saga)
        context = self.context(
            request, saga.name, saga=saga, state=badge(saga.state), why=told.why(), facts=told.all(),
            verbs=[(label, self.at_verb(verb, saga.id)) for verb, label in offered.of_saga],
            drawing=draw(saga), steps=told.steps(offered), has_verbs=any(offered.of_steps.values()),
            signals=_signals(saga), lines=facts.lines(saga.history), is_short=len(saga.history) <= _FEW_LINES,
            is_stuck=saga.state == SagaState.NEEDS_ATTENTION,
        )  # fmt: skip
        return TemplateResponse(request, "admin/taskyard/saga/page.html", context)


def _signals(saga: SagaReading) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "key": each.key, "payload": facts.folded(each.payload), "came": ago(each.received_at),
         "used": ago(each.used_at) if each.used_at else "not yet"}
        for each in saga.signals
    ]  # fmt: skip


def _found(actor: Actor, saga_id: uuid.UUID | None) -> SagaReading | None:
    try:
        return sagas.show(actor, saga_id) if saga_id is not None else None
    except NotFound:
        return None


def _saga_of_job(actor: Actor, job_id: uuid.UUID) -> uuid.UUID | None:
    rows = Job.objects.visible_to(actor.tenant).filter(id=job_id, subject_type=SUBJECT)
    return id_of(rows.values_list("subject_id", flat=True).first() or "")


def _row(found: SagaSummary) -> Any:
    # The templates of the admin want a row.
    row: Any = Saga(id=found.id, name=found.name, tenant=found.tenant, state=found.state)
    row.summary = found
    return row
