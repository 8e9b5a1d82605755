"""The admin of schedules: what will run, what ran, why something did not, and what one may do about it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache

from taskyard.admin import listing, words
from taskyard.admin.fields import json_text
from taskyard.admin.form import ScheduleForm
from taskyard.admin.preview import USUAL, upcoming
from taskyard.admin.records import last_decisions, last_versions
from taskyard.admin.timing import BOUNDS_FIELDS, RECURRENCE_FIELDS
from taskyard.admin.verbs import VERBS, WithVerbs, actor_of, may
from taskyard.errors import TaskyardError
from taskyard.jobs.redaction import shown_arguments
from taskyard.operations import Actor, schedules
from taskyard.schedules.models import Schedule
from taskyard.schedules.sources.code import drift
from taskyard.tasks import registry

_RUNS = "admin/taskyard/schedule/runs.html"
#: What the preview depends on.
_TIMING = (*RECURRENCE_FIELDS, *BOUNDS_FIELDS)

Fieldsets = list[tuple[str | None, dict[str, Any]]]
_FORM: Fieldsets = [
    (None, {"fields": ["name", "tenant", "began_with", "description", "enabled"]}),
    ("What", {"fields": ["task", "kwargs", ("queue", "priority")]}),
    ("When", {"fields": [
        "kind", ("expression", "timezone"), ("gap", "fold"), ("interval", "phase"), "at", "next_runs",
    ]}),
    ("Limits", {"fields": [
        ("start", "end"), ("max_runs", "window"), "calendar_weekdays", "calendar_days",
        ("calendar_name", "calendar_timezone"),
    ], "classes": ["collapse"]}),
    ("When it cannot run", {"fields": [
        "overlap", "catch_up", ("catch_up_count", "catch_up_window"), "pause_after_failures",
    ]}),
    ("For several tenants", {"fields": ["audience", "tenant_names", "spread"], "classes": ["collapse"]}),
    ("Seldom needed", {"fields": ["args", "more_calendars"], "classes": ["collapse"]}),
]  # fmt: skip
_VIEW: Fieldsets = [
    (None, {"fields": ["name", "tenant", "description"]}),
    ("What", {"fields": ["task", "arguments", "queue", "priority"]}),
    ("When", {"fields": ["next_runs", "limits"]}),
    ("When it cannot run", {"fields": [
        "overlap", "catch_up", "catch_up_count", "catch_up_window", "pause_after_failures",
    ]}),
    ("For several tenants", {"fields": ["tenants", "spread"]}),
]  # fmt: skip
#: For whoever may not see arguments.
_BLIND: Fieldsets = [
    (title, {**said, "fields": [name for name in said["fields"] if name != "arguments"]}) for title, said in _VIEW
]


@admin.register(Schedule)
class ScheduleAdmin(WithVerbs):
    """Every schedule, or a tenant's own where the page is a tenant's; writes through ``Schedule.objects.define``."""

    form = ScheduleForm
    change_form_template = "admin/taskyard/schedule/change_form.html"
    list_display = ("name", "whose", "state", "when", "next_run", "last_run", "task")
    list_filter = (listing.StateFilter, listing.TenantFilter)
    list_per_page = 50
    paginator = listing.CappedPaginator
    search_fields = ("name",)
    search_help_text = "Beginning of a name; tenant:name looks among that tenant's."
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ("name", "next_run")

    class Media:
        css: ClassVar = {"all": ["taskyard/admin/schedule.css"]}
        js: ClassVar = ["taskyard/admin/schedule.js"]

    # -- which, and who may -------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """All to operators of all tenants, to others their own tenant's."""
        return schedules.visible(actor_of(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may not see arguments cannot say what they are to be."""
        return super().has_change_permission(request, obj) and may(request, "define")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return super().has_add_permission(request) and may(request, "define")

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return _within(actor_of(request), super().get_form(request, *args, **kwargs))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[listing.ScheduleList]:
        return listing.ScheduleList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return listing.search(queryset, search_term.strip()) if search_term.strip() else queryset, False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        actor = actor_of(request)
        if obj is not None and not self.has_change_permission(request, obj):
            return _VIEW if actor.sees_payload else _BLIND
        return [each for each in _FORM if actor.is_for_all or "audience" not in each[1]["fields"]]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        is_named = ("name", "tenant") if obj is not None else () if actor_of(request).is_for_all else ("tenant",)
        return ["next_runs", *is_named]

    # -- the list -----------------------------------------------------------------------------------------------------

    @admin.display(description="tenant", empty_value="–")
    def whose(self, row: Schedule) -> SafeString | str:
        """A link to all of that tenant's."""
        return format_html('<a href="?tenant={}">{}</a>', row.tenant, row.tenant) if row.tenant else "–"

    @admin.display(description="state")
    def state(self, row: Schedule) -> SafeString:
        """Whether it runs, and why it does not."""
        state = words.state_of(row, timezone.now())
        return format_html(
            '<span class="taskyard-state taskyard-{}">{}</span> <span class="taskyard-reason">{}</span>',
            state.name, state.name, state.reason[:200],
        )  # fmt: skip

    @admin.display(description="runs")
    def when(self, row: Schedule) -> str:
        """In words."""
        return words.when(row).partition(";")[0]

    @admin.display(description="next run", ordering="next_at")
    def next_run(self, row: Schedule) -> SafeString | str:
        """As the scheduler will decide it."""
        return _moment(row.next_at)

    @admin.display(description="last run")
    def last_run(self, row: Schedule) -> SafeString | str:
        """When it last fired."""
        return _moment(row.last_at)

    # -- the page -----------------------------------------------------------------------------------------------------

    @admin.display(description="Next runs")
    def next_runs(self, row: Schedule) -> str:
        """The panel that follows what is typed."""
        context = {
            "upcoming": upcoming(row, now=timezone.now()), "fields": " ".join(("name", "tenant", *_TIMING)),
            "url": reverse("admin:taskyard_schedule_preview", current_app=self.admin_site.name),
            "schedule": row.pk or "",
        }  # fmt: skip
        return render_to_string("admin/taskyard/schedule/next_runs.html", context)

    @admin.display(description="Arguments")
    def arguments(self, row: Schedule) -> SafeString:
        """By name and by position."""
        shown = shown_arguments(row.task, args=row.args, kwargs=row.kwargs)
        given = [json_text(each) for each in shown if each]
        return format_html("<pre>{}</pre>", "\n".join(given) or "–")

    @admin.display(description="Limits")
    def limits(self, row: Schedule) -> SafeString:
        """Bounds and calendars."""
        said = {name: value for name, value in (row.bounds or {}).items() if value}
        return format_html("<pre>{}</pre>", json_text(said) if said else "–")

    def get_urls(self) -> list[URLPattern]:
        """With the preview."""
        view = self.admin_site.admin_view(never_cache(self.preview))
        return [path("preview/", view, name="taskyard_schedule_preview"), *super().get_urls()]

    def preview(self, request: HttpRequest) -> HttpResponse:
        """What is typed, in words, with its next runs: GET the form's fields, an id as ``schedule``, ``n`` (to 50)."""
        said = request.GET.get("schedule", "")
        row = self.get_object(request, said) if said else Schedule()
        is_allowed = self.has_add_permission(request) if not said else row and self.has_view_permission(request, row)
        if row is None or not is_allowed:
            raise PermissionDenied
        form = _within(actor_of(request), ScheduleForm)(request.GET, instance=row)
        form.is_valid()
        problems = [text for name in _TIMING for text in form.errors.get(name, ())]
        count = request.GET.get("n", "")
        shown = upcoming(form.instance, count=int(count[:4]) if count.isdecimal() else USUAL, now=timezone.now())
        return TemplateResponse(request, _RUNS, {"upcoming": shown, "problems": problems})

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except TaskyardError as error:
            if request.method != "POST":
                raise
            # Somebody was faster; what was written is rolled back.
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        row = kwargs.get("obj")
        if row is not None:
            # As it is stored: what is typed stands in the row already.
            change = drift(Schedule.objects.all().filter(pk=row.pk).first() or row)
            actor = actor_of(request)
            context |= {
                "state": words.state_of(row, timezone.now()), "drift": change,
                "drifted": words.told(actor, words.drifted(change, row.task)) if change else (),
                "decisions": last_decisions(row), "versions": last_versions(row, actor),
                "may": {verb for verb in VERBS if may(request, verb)}, "is_paused": row.paused_at is not None,
                "may_see_decisions": actor.may("view_occurrence"),
                "may_see_versions": actor.may("view_scheduleversion") and actor.sees_payload,
            }  # fmt: skip
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.__dict__.update(form.define(actor_of(request)).__dict__)
        if registry.find(obj.task) is None:
            self.message_user(
                request, f"No process here knows the task {obj.task!r}: a worker that declares it has to be running.",
                messages.WARNING,
            )  # fmt: skip
        if obj.origin == "code" and drift(obj) is not None:
            self.message_user(
                request, "This schedule stands in code, which says otherwise: the next “schedules sync” puts it back, "
                "and “schedules sync --adopt” leaves it as it is.", messages.WARNING,
            )  # fmt: skip

    # -- deletion -----------------------------------------------------------------------------------------------------

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Their names: what was decided about each of them goes as well, and may be very much to read."""
        count = objs.count() if isinstance(objs, QuerySet) else len(objs)
        names = [f"{row}, with its decisions and versions" for row in objs[:50]]
        more = [f"and {count - 50} more"] if count > 50 else []
        return [*names, *more], {self.opts.verbose_name_plural: count}, set(), []

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        schedules.remove(actor_of(request), obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Each by itself, and each told in the audit."""
        for row in queryset:
            schedules.remove(actor_of(request), row)


def _within(actor: Actor, form: Any) -> Any:
    return type(form.__name__, (form,), {"owner": actor.tenant})


def _moment(at: Any) -> SafeString | str:
    if at is None:
        return "–"
    said = words.distance(at, timezone.now())
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), words.moment(at), said)
