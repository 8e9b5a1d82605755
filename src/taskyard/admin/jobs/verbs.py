"""What somebody may do to jobs that are named: one on its page, or those chosen in the list."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from taskyard.admin.fields import JsonField
from taskyard.admin.pages.asking import Done, NeededReasonForm, Question, ReasonForm, answered, ask, open_verbs, require
from taskyard.admin.pages.lists import Listed
from taskyard.admin.verbs import actor_of
from taskyard.jobs.detail import JobDetail
from taskyard.operations import jobs
from taskyard.operations.acting.verbs import find_verb
from taskyard.operations.jobs import Outcome

#: Verbs of several jobs at a time: what each does, in a sentence, and what it is called when it was done.
SEVERAL = {
    "retry": ("They are brought back, each with one more attempt.", "brought back"),
    "cancel": ("What has not begun is cancelled; what runs is asked to stop.", "cancelled or asked to stop"),
    "discard": ("They are set aside as cancelled: nobody has to look at them any more.", "set aside"),
}
#: Those of one job, in the order of their buttons.
ONE = ("retry", "cancel", "discard", "edit", "copy")
_CALLED = {"edit": "Edit and retry"}
#: Those that are not taken back.
_GRAVE = ("cancel", "discard")

Acts = Callable[..., Outcome]
_ACTS: Mapping[str, Acts] = {"retry": jobs.retry, "cancel": jobs.cancel, "discard": jobs.discard}


class ArgumentsForm(ReasonForm):
    """The arguments of a call, and why they are others."""

    kwargs = JsonField(dict, label="Arguments")
    args = JsonField(list, label="Arguments by position")
    field_order = ("kwargs", "args", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["kwargs"].widget = forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "autofocus": True})
        self.fields["reason"].widget.attrs.pop("autofocus", None)


def called(verb: str) -> str:
    """What stands on its button."""
    return _CALLED.get(verb, verb.capitalize())


def offered(request: HttpRequest, detail: JobDetail) -> list[tuple[str, str]]:
    """Verbs that make sense for this job and whoever asks, with what they are called."""
    state = detail.fields["state"]
    return [(verb, called(verb)) for verb in open_verbs(request, "job", ONE) if state in find_verb("job", verb).takes]


class WithVerbs(Listed):
    """The pages and actions of the verbs, for the admin of jobs."""

    actions: Any = ("retry_chosen", "cancel_chosen", "discard_chosen")

    def get_urls(self) -> list[URLPattern]:
        """``<id>/retry/`` and so on, before Django's own."""
        views = {"edit": self.edit, "copy": self.copy}
        pages = [
            path(
                f"<uuid:job_id>/{verb}/", self.admin_site.admin_view(views.get(verb, self._page_of(verb))),
                name=f"taskyard_job_{verb}",
            )
            for verb in ONE
        ]  # fmt: skip
        return [*pages, *super().get_urls()]

    def _page_of(self, verb: str) -> Callable[..., Any]:
        @answered
        def page(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
            require(request, "job", verb)
            job = self._one(request, job_id)
            question = self._question(verb, [(f"{job['task']} {job_id}", self.at("change", job_id))])
            return ask(self, request, question, lambda said: self._done(request, verb, ids=[job_id], said=said))

        return page

    def _one(self, request: HttpRequest, job_id: uuid.UUID) -> Mapping[str, Any]:
        return jobs.show(actor_of(request), job_id).fields

    def _question(self, verb: str, about: Sequence[tuple[str, str]], **more: Any) -> Question:
        back = about[0][1] if len(about) == 1 and about[0][1] else self.at("changelist")
        form = NeededReasonForm if verb == "discard" else ReasonForm
        return Question(**{
            "title": f"{called(verb)} {'this job' if len(about) == 1 else f'{len(about):,} jobs'}",
            "says": [SEVERAL[verb][0] if len(about) > 1 else _singular(verb)], "button": called(verb), "back": back,
            "about": about, "is_grave": verb in _GRAVE, "form": form, **more,
        })  # fmt: skip

    def _done(self, request: HttpRequest, verb: str, *, ids: Sequence[uuid.UUID], said: Mapping[str, Any]) -> Done:
        outcome = _ACTS[verb](actor_of(request), ids, reason=said["reason"])
        to = self.at("change", ids[0]) if len(ids) == 1 else self.at("changelist")
        count = f"{outcome.changed:,} of {outcome.found:,} jobs" if outcome.found > 1 else "The job"
        if not outcome.changed:
            return Done("Nothing was changed: no job was in a state for it.", to, messages.WARNING)
        is_all = outcome.changed == outcome.found
        return Done(f"{count}: {SEVERAL[verb][1]}.", to, messages.SUCCESS if is_all else messages.WARNING)

    # -- those chosen in the list --------------------------------------------------------------------------------------

    def _act(self, request: HttpRequest, verb: str) -> HttpResponse:
        # By their ids alone: what the list would hold by now is not what was chosen.
        ids = [uuid.UUID(text) for text in request.POST.getlist(ACTION_CHECKBOX_NAME) if _is_id(text)]
        hidden = [("action", f"{verb}_chosen"), *((ACTION_CHECKBOX_NAME, str(job_id)) for job_id in ids)]
        about = [(str(job_id), self.at("change", job_id)) for job_id in ids]
        question = self._question(verb, about, hidden=hidden, back=self.at("changelist"))
        do = answered(lambda: ask(self, request, question, lambda said: self._done(request, verb, ids=ids, said=said)))
        return do()

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """For the action."""
        return bool(open_verbs(request, "job", ["retry"]))

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """For the action."""
        return bool(open_verbs(request, "job", ["cancel"]))

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """For the action."""
        return bool(open_verbs(request, "job", ["discard"]))

    @admin.action(description="Retry", permissions=["retry"])
    def retry_chosen(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        """Those that failed or were cancelled."""
        return self._act(request, "retry")

    @admin.action(description="Cancel", permissions=["cancel"])
    def cancel_chosen(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        """Those that have not ended."""
        return self._act(request, "cancel")

    @admin.action(description="Discard", permissions=["discard"])
    def discard_chosen(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        """Those that failed."""
        return self._act(request, "discard")

    # -- with other arguments ------------------------------------------------------------------------------------------

    def edit(self, request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
        """Other arguments, then a retry: both or neither."""
        return answered(self._edit)(request, job_id)

    def _edit(self, request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
        require(request, "job", "edit")
        actor = actor_of(request)
        before = self._arguments(request, job_id)
        question = self._question(
            "edit", self._about(request, job_id), form=ArgumentsForm, initial=before,
            says=["It is brought back with these arguments and one more attempt, or left as it is."],
        )  # fmt: skip

        def do(said: Mapping[str, Any]) -> Done:
            jobs.edit(actor, job_id, **_others(said, before), reason=said["reason"])
            return Done("The job was brought back with these arguments.", self.at("change", job_id))

        return ask(self, request, question, do)

    def copy(self, request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
        """A new job like this one; with other arguments where whoever asks may say them."""
        return answered(self._copy)(request, job_id)

    def _copy(self, request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
        require(request, "job", "copy")
        actor = actor_of(request)
        about = self._about(request, job_id)
        before = self._arguments(request, job_id) if open_verbs(request, "job", ["edit"]) else None
        question = self._question(
            "copy", about, form=ReasonForm if before is None else ArgumentsForm, initial=before or {},
            says=["A new job like this one is enqueued; this one stays as it is."],
        )  # fmt: skip

        def do(said: Mapping[str, Any]) -> Done:
            others = {} if before is None else _others(said, before)
            new = jobs.copy(actor, job_id, **others, reason=said["reason"])
            return Done(f"Enqueued as job {new.id}.", self.at("change", new.id))

        return ask(self, request, question, do)

    def _arguments(self, request: HttpRequest, job_id: uuid.UUID) -> dict[str, Any]:
        fields = self._one(request, job_id)
        return {"args": fields["args"], "kwargs": fields["kwargs"]}

    def _about(self, request: HttpRequest, job_id: uuid.UUID) -> list[tuple[str, str]]:
        return [(f"{self._one(request, job_id)['task']} {job_id}", self.at("change", job_id))]


def _singular(verb: str) -> str:
    return {
        "retry": "It is brought back with one more attempt.", "edit": "", "copy": "",
        "cancel": "It is cancelled if it has not begun, and asked to stop if it runs.",
        "discard": "It is set aside as cancelled: nobody has to look at it any more.",
    }[verb]  # fmt: skip


def _others(said: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in ("args", "kwargs") if said[name] != before[name]}


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
