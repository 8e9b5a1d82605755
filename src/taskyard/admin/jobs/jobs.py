"""The admin of jobs: who waits and why, what runs and how far it is, what failed, and what one may do about it."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskyard.admin.jobs import facts
from taskyard.admin.jobs.filters import FILTERS, wanted_of
from taskyard.admin.jobs.many import WithAll
from taskyard.admin.jobs.verbs import offered
from taskyard.admin.pages.asking import answered, open_verbs
from taskyard.admin.pages.lists import link
from taskyard.admin.pages.shown import ago, badge, bar, named, shortened
from taskyard.admin.verbs import actor_of
from taskyard.failures.models import Failure
from taskyard.failures.queries import Place
from taskyard.jobs.models import Job
from taskyard.jobs.pages.keyset import Page, place_from
from taskyard.jobs.queries import JobSummary, reason_of
from taskyard.jobs.states import State
from taskyard.operations import Actor, failures, jobs
from taskyard.operations.bulk import order

_PAGE = "admin/taskyard/job/page.html"
_MOST_REASON = 120


@admin.register(Job)
class JobAdmin(WithAll):
    """Every job, or a tenant's own; writes through :mod:`taskyard.operations` alone."""

    list_display = ("called", "state_now", "whose", "place", "tries", "when")
    list_filter = FILTERS
    search_fields = ("id",)
    search_help_text = (
        "A job's id; label.model:key, the row it is about; or the beginning of a task's name. Each page looks at "
        "20,000 jobs at most."
    )
    permission = "view_job"

    def actor(self, request: HttpRequest) -> Actor:
        """Who asks."""
        return actor_of(request)

    def get_queryset(self, request: HttpRequest) -> Any:
        return Job.objects.visible_to(actor_of(request).tenant)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without the tenant where there is but one."""
        shown = super().get_list_display(request)
        return shown if actor_of(request).is_for_all else [name for name in shown if name != "whose"]

    def find_page(self, request: HttpRequest, shown: Any, after: str) -> Page[Any]:
        actor, wanted = actor_of(request), wanted_of(shown.params)
        if wanted.group:
            return self._failed(actor, wanted.group, after)
        found = jobs.page(actor, wanted, text=shown.query.strip(), after=after, limit=self.list_per_page)
        return Page(tuple(map(_row, found.rows)), found.after, found.is_cut)

    def _failed(self, actor: Actor, group: str, after: str) -> Page[Any]:
        place = place_from(after, Failure, order=("failed_at", "job_id")) if after else None
        rows, last = failures.jobs_of(actor, group, after=Place(*place) if place else None, limit=self.list_per_page)
        return Page(tuple(map(_row, rows)), last)

    @answered
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """With what may be done to all that match."""
        return super().changelist_view(request, {"for_all": self.offered_for_all(request)})

    # -- the list -----------------------------------------------------------------------------------------------------

    @admin.display(description="job")
    def called(self, row: Job) -> SafeString:
        """Its task, and its id."""
        return named(row.task, row.id)

    @admin.display(description="state")
    def state_now(self, row: Job) -> SafeString:
        """As a word, with its sign; how far it is, and why it failed, was cancelled or is tried again."""
        is_asked = row.cancel_requested_at is not None and not row.is_final
        sign, reason = badge(row.state, "asked to stop" if is_asked else ""), reason_of(row.error)
        far = "" if row.is_final else bar(row.progress_current, row.progress_total)
        why = shortened(reason, _MOST_REASON)
        return format_html('{} {} <span class="taskyard-reason" title="{}">{}</span>', sign, far, reason, why)

    @admin.display(description="tenant", empty_value="–")
    def whose(self, row: Job) -> SafeString | str:
        """A link to all of that tenant's."""
        return link(row.tenant, tenant=row.tenant) if row.tenant else "–"

    @admin.display(description="queue")
    def place(self, row: Job) -> SafeString:
        """A link to all of it."""
        priority = f" {row.priority:+d}" if row.priority else ""
        return format_html("{}{}", link(row.queue, queue=row.queue), priority)

    @admin.display(description="try")
    def tries(self, row: Job) -> str:
        """Which attempt of how many."""
        return f"{row.attempt}/{row.max_attempts}"

    @admin.display(description="when")
    def when(self, row: Job) -> SafeString:
        """Of what happened last, or will happen next."""
        now = timezone.now()
        if row.finished_at:
            return format_html("ended {}", ago(row.finished_at, now))
        if row.state == State.RUNNING and row.started_at:
            return format_html("started {}", ago(row.started_at, now))
        if row.available_at > now or row.state == State.RETRYING:
            return format_html("due {}", ago(row.available_at, now))
        return format_html("created {}", ago(row.created_at, now))

    # -- the page -----------------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Everything about one; by the id of Celery as well where a caller chose that."""
        return answered(self._page)(request, object_id)

    def _page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        try:
            job_id = uuid.UUID(object_id)
        except ValueError as error:
            raise Http404 from error
        actor = actor_of(request)
        detail = jobs.show(actor, job_id)
        job = detail.fields
        entry = order.entry_of(actor, job_id)
        context = self.context(
            request, job["task"], job=job, state=badge(job["state"]), verbs=offered(request, detail),
            facts=facts.Facts(self, request, detail).all(), attempts=facts.attempts(detail), entry=entry,
            # Others have nothing to show.
            is_followed=job["state"] == State.RUNNING or job["progress_current"] is not None,
            children=facts.children(self, jobs.children(actor, detail)),
            count=sum(detail.children.values()),
            may_abort=entry is not None and bool(open_verbs(request, "job", ["cancel"])),
        )  # fmt: skip
        return TemplateResponse(request, _PAGE, context)


def _row(job: JobSummary) -> Job:
    # The templates of the admin want a row.
    row: Job = Job(**{name: getattr(job, name) for name in job.__slots__})
    return row
