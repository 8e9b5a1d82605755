"""What somebody may do to schedules: run now, pause, resume, enable, disable; to one, and to those chosen in the list.

Each ends in the same operation as the command of that name, which asks for the permission and writes the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from taskyard.admin.fields import MomentField
from taskyard.admin.words import moment
from taskyard.errors import TaskyardError, UnknownSchedule
from taskyard.jobs.redaction import redact_text
from taskyard.operations import Actor, schedules
from taskyard.operations.acting.verbs import find_verb
from taskyard.schedules.models import Schedule

#: Schedules that one action is done to.
MOST_CHOSEN = 500
_PAGE = "admin/taskyard/schedule/confirm.html"


class PauseForm(forms.Form):
    """Why, and until when."""

    reason = forms.CharField(
        max_length=500, widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
        help_text="Shown wherever somebody asks why it did not run.",
    )  # fmt: skip
    until = MomentField(required=False, help_text="2027-02-01 08:00; empty: until somebody resumes it.")

    def clean_until(self) -> Any:
        """A time to come."""
        until = self.cleaned_data["until"]
        if until is not None and until <= timezone.now():
            raise forms.ValidationError("It must be a time to come.")
        return until


def _run(row: Schedule, actor: Actor, said: Any) -> tuple[int, str]:
    occurrence = schedules.run(actor, row)
    if occurrence.decision == "fired":
        what = f"job {occurrence.job}" if occurrence.job else f"{occurrence.jobs} jobs, one for each tenant"
        return messages.SUCCESS, f"Ran “{row}”: {what}."
    return messages.WARNING, f"“{row}” did not run at once ({occurrence.decision}): {occurrence.reason}."


def _pause(row: Schedule, actor: Actor, said: Any) -> tuple[int, str]:
    schedules.pause(actor, row, until=said["until"], reason=said["reason"])
    until = f" until {moment(said['until'])}" if said["until"] else ""
    return messages.SUCCESS, f"Paused “{row}”{until}: {redact_text(said['reason'])}."


def _resume(row: Schedule, actor: Actor, said: Any) -> tuple[int, str]:
    schedules.resume(actor, row)
    return messages.SUCCESS, f"Resumed “{row}”; next {moment(row.next_at)}."


def _enable(row: Schedule, actor: Actor, said: Any) -> tuple[int, str]:
    schedules.enable(actor, row)
    return messages.SUCCESS, f"Enabled “{row}”; next {moment(row.next_at)}."


def _disable(row: Schedule, actor: Actor, said: Any) -> tuple[int, str]:
    schedules.disable(actor, row)
    return messages.SUCCESS, f"Disabled “{row}”: its due times leave no trace until it is enabled again."


Verb = Callable[[Schedule, Actor, Any], tuple[int, str]]
VERBS: dict[str, Verb] = {"run": _run, "pause": _pause, "resume": _resume, "enable": _enable, "disable": _disable}
#: Those that ask first, and what stands on their button.
ASKING = {"run": "run now", "pause": "pause"}
#: Schedules of one action that are each said a sentence about.
_MOST_SENTENCES = 10


def actor_of(request: HttpRequest) -> Actor:
    """Who asks."""
    return Actor.of_request(request, via="admin")


def may(request: HttpRequest, name: str) -> bool:
    """Whether a verb is offered to whoever asks."""
    return find_verb("schedule", name).is_open_to(actor_of(request))


class WithVerbs(admin.ModelAdmin):  # type: ignore[type-arg]
    """The pages and actions of the verbs, for the admin of schedules."""

    actions = ("run_chosen", "pause_chosen", "resume_chosen", "enable_chosen", "disable_chosen")

    def get_urls(self) -> list[URLPattern]:
        """``<id>/run/`` and so on, before Django's own."""
        pages = [
            path(f"<int:pk>/{verb}/", self.admin_site.admin_view(self._page_of(verb)), name=f"taskyard_schedule_{verb}")
            for verb in VERBS
        ]
        return [*pages, *super().get_urls()]

    def _page_of(self, verb: str) -> Callable[..., Any]:
        def page(request: HttpRequest, pk: int) -> Any:
            row = self.get_object(request, str(pk))
            if row is None:
                self.message_user(request, "There is no such schedule: somebody may have deleted it.", messages.WARNING)
                return HttpResponseRedirect(self._at("changelist"))
            if not may(request, verb):
                raise PermissionDenied
            if verb not in ASKING and request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            return self._ask_or_do(request, verb, [row]) or HttpResponseRedirect(self._at("change", pk))

        return page

    def _at(self, page: str, *args: Any) -> str:
        return reverse(f"admin:taskyard_schedule_{page}", args=args, current_app=self.admin_site.name)

    def _ask_or_do(self, request: HttpRequest, verb: str, rows: Sequence[Schedule]) -> HttpResponse | None:
        """The page that asks, or None once it is done."""
        is_said = request.method == "POST" and (verb not in ASKING or "said" in request.POST)
        form = PauseForm(request.POST if is_said else None) if verb == "pause" else None
        if is_said and (form is None or form.is_valid()):
            self._do(request, verb, rows=rows, said=form.cleaned_data if form else None)
            return None
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request), "opts": self.opts, "title": ASKING[verb].capitalize(),
            "form": form, "rows": rows, "verb": verb, "action": request.POST.get("action", ""),
            "chosen": ACTION_CHECKBOX_NAME, "media": self.media,
        }  # fmt: skip
        return TemplateResponse(request, _PAGE, context)

    def _do(self, request: HttpRequest, verb: str, *, rows: Sequence[Schedule], said: Any) -> None:
        done = [self._do_one(request, VERBS[verb], row=row, said=said) for row in rows]
        others = [each for each in done if each[0] != messages.SUCCESS]
        shown = done if len(done) <= _MOST_SENTENCES else others[:_MOST_SENTENCES]
        for level, sentence in shown:
            self.message_user(request, sentence, level)
        if shown is not done:
            sentence = f"{ASKING.get(verb, verb).capitalize()}: done for {len(done) - len(others)} of {len(done)}."
            self.message_user(request, sentence, messages.WARNING if others else messages.SUCCESS)

    def _do_one(self, request: HttpRequest, verb: Verb, *, row: Schedule, said: Any) -> tuple[int, str]:
        try:
            level, sentence = verb(row, actor_of(request), said)
        except (Schedule.DoesNotExist, UnknownSchedule):
            return messages.ERROR, f"“{row}” is gone: somebody deleted it."
        except (TaskyardError, TypeError) as error:
            # TypeError: arguments that the task does not take.
            return messages.ERROR, f"“{row}”: {error}"
        self.log_change(request, row, sentence)
        return level, sentence

    def _act(self, request: HttpRequest, verb: str, rows: Any) -> HttpResponse | None:
        chosen = list(rows[: MOST_CHOSEN + 1])
        if len(chosen) > MOST_CHOSEN:
            self.message_user(request, f"At most {MOST_CHOSEN} at a time: choose fewer.", messages.ERROR)
            return None
        return self._ask_or_do(request, verb, chosen)

    def has_run_permission(self, request: HttpRequest) -> bool:
        """For the action."""
        return may(request, "run")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """For the actions."""
        return may(request, "pause")

    def has_enable_permission(self, request: HttpRequest) -> bool:
        """For the actions."""
        return may(request, "enable")

    @admin.action(description="Run now", permissions=["run"])
    def run_chosen(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Each once, whatever its clock says."""
        return self._act(request, "run", queryset)

    @admin.action(description="Pause", permissions=["pause"])
    def pause_chosen(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """All for one reason."""
        return self._act(request, "pause", queryset)

    @admin.action(description="Resume", permissions=["pause"])
    def resume_chosen(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """From the next due time on."""
        return self._act(request, "resume", queryset)

    @admin.action(description="Enable", permissions=["enable"])
    def enable_chosen(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """From the next due time on."""
        return self._act(request, "enable", queryset)

    @admin.action(description="Disable", permissions=["enable"])
    def disable_chosen(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Until somebody enables them."""
        return self._act(request, "disable", queryset)
