"""What somebody may do to all jobs that the list's filters mean: counted first, done by a job that can be aborted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.http import urlencode

from taskyard.admin.jobs.filters import FILTERS, wanted_of
from taskyard.admin.jobs.verbs import SEVERAL, WithVerbs, called
from taskyard.admin.pages.asking import Done, NeededReasonForm, Question, answered, ask, open_verbs, require
from taskyard.admin.verbs import actor_of
from taskyard.admin.words import previewed
from taskyard.jobs.queries import JobFilter
from taskyard.operations.acting.verbs import find_verb
from taskyard.operations.bulk import order
from taskyard.operations.bulk.selection import narrowed


class RateForm(NeededReasonForm):
    """Why, and how fast."""

    rate = forms.FloatField(
        required=False, min_value=0.01, label="At most", help_text="Jobs a second; empty: as fast as it goes."
    )


class WithAll(WithVerbs):
    """The pages ``all/<verb>/``, which take what the list was asked."""

    def get_urls(self) -> list[URLPattern]:
        """Before Django's own."""
        pages = [
            path(f"all/{verb}/", self.admin_site.admin_view(self._page_of_all(verb)), name=f"taskyard_job_all_{verb}")
            for verb in SEVERAL
        ]
        return [*pages, *super().get_urls()]

    def offered_for_all(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Verbs that fit what the list shows, and their addresses; none where it was searched in."""
        wanted = wanted_of(request.GET)
        if request.GET.get("q") or wanted.is_empty:
            return []
        verbs = [verb for verb in open_verbs(request, "job", list(SEVERAL)) if _fits(verb, wanted)]
        return [(called(verb), f"{self.at(f'all_{verb}')}?{urlencode(_asked(request))}") for verb in verbs]

    def _page_of_all(self, verb: str) -> Any:
        @answered
        def page(request: HttpRequest) -> HttpResponse:
            require(request, "job", verb)
            return self._ask_all(request, verb)

        return page

    def _ask_all(self, request: HttpRequest, verb: str) -> HttpResponse:
        actor, wanted = actor_of(request), wanted_of(request.GET)
        if wanted.is_empty:
            raise Http404("All jobs there are: choose some of them first.")
        seen = order.preview(actor, order.order(actor, verb, wanted))
        says = previewed(seen, "job matches", more="jobs match").capitalize()
        question = Question(
            title=f"{called(verb)} all that match", is_empty=not seen.count,
            button=f"{called(verb)} {previewed(seen, 'job', more='jobs')}",
            says=[
                f"{says} now ({in_words(_asked(request))}). {SEVERAL[verb][0]}",
                "A job of its own does it, batch by batch, and shows how far it is; cancel that one to abort it.",
            ],
            back=f"{self.at('changelist')}?{urlencode(_asked(request))}", form=RateForm,
            about=[(f"{each.task} {each.id}", self.at("change", each.id)) for each in seen.sample],
            is_more=seen.count > len(seen.sample), is_grave=verb != "retry",
        )  # fmt: skip

        def do(said: Mapping[str, Any]) -> Done:
            asked = order.order(actor, verb, wanted, rate=said["rate"], reason=said["reason"])
            job = order.start(actor, asked)
            return Done("It is on its way: this is the job that does it.", self.at("change", job.id))

        return ask(self, request, question, do)


def in_words(asked: Mapping[str, str]) -> str:
    """What was asked of a list."""
    return ", ".join(f"{name} {value}" for name, value in asked.items()) or "all"


def _asked(request: HttpRequest) -> dict[str, str]:
    names = [each.parameter_name for each in FILTERS]
    return {name: request.GET[name] for name in names if name and name in request.GET}


def _fits(verb: str, wanted: JobFilter) -> bool:
    return bool(narrowed(find_verb("job", verb).takes, wanted))
