"""What somebody may do to a group of failures: mend its jobs, set them aside, or say something of the group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from taskyard.admin.fields import DurationField
from taskyard.admin.pages.asking import Done, NeededReasonForm, Question, ReasonForm, ask, require
from taskyard.admin.pages.lists import Listed
from taskyard.admin.verbs import actor_of
from taskyard.admin.words import previewed
from taskyard.failures.queries import GroupOverview
from taskyard.operations import failures
from taskyard.operations.bulk import order

#: In the order of their buttons.
VERBS = {
    "retry": "Retry all", "discard": "Discard all", "snooze": "Snooze", "resolve": "Resolve", "reopen": "Reopen",
    "note": "Note",
}  # fmt: skip


class RateForm(ReasonForm):
    """How fast, and why."""

    rate = forms.FloatField(
        required=False, min_value=0.01, label="At most", help_text="Jobs a second; empty: as fast as it goes."
    )
    field_order = ("rate", "reason")


class SnoozeForm(ReasonForm):
    """For how long."""

    length = DurationField(required=False, label="For", help_text="12 h, 3 d; empty: until the next release.")
    field_order = ("length", "reason")


class NoteForm(forms.Form):
    """What is to be kept with a group."""

    text = forms.CharField(
        required=False, label="Note", widget=forms.Textarea(attrs={"rows": 5, "autofocus": True}), max_length=10_000,
        help_text="In the place of the note before; empty: none.",
    )  # fmt: skip


def fits(verb: str, group: GroupOverview) -> bool:
    """Whether it makes sense for a group as it stands."""
    match verb:
        case "retry" | "discard":
            return group.count > 0
        case "snooze" | "resolve":
            return group.state != {"snooze": "snoozed", "resolve": "resolved"}[verb]
        case "reopen":
            return group.state != "open"
    return True


class Mending(Listed):
    """The pages of the verbs, for the admin of failures."""

    def retry(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Brings its jobs back."""
        says = "They are brought back, each with one more attempt."
        return self._mend(request, "retry", fingerprint, says=says)

    def discard(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Sets its jobs aside."""
        says = "They are set aside as cancelled: nobody has to look at them any more."
        return self._mend(request, "discard", fingerprint, says=says)

    def _mend(self, request: HttpRequest, verb: str, fingerprint: str, *, says: str) -> HttpResponse:
        require(request, "failure", verb)
        actor = actor_of(request)
        seen = order.preview(actor, failures.mending(actor, verb, fingerprint))
        stand = previewed(seen, "job stands", more="jobs stand").capitalize()

        def do(said: Mapping[str, Any]) -> Done:
            asked = failures.mending(actor, verb, fingerprint, rate=said.get("rate"), reason=said["reason"])
            job = order.start(actor, asked)
            at = reverse("admin:taskyard_job_change", args=[job.id], current_app=self.admin_site.name)
            return Done("It is on its way: this is the job that does it.", at)

        question = self._question(
            verb, fingerprint, button=f"{verb.capitalize()} {previewed(seen, 'job', more='jobs')}",
            is_empty=not seen.count,
            form=RateForm if verb == "retry" else NeededReasonForm, is_grave=verb == "discard",
            says=[f"{stand} failed in this group now. {says}",
                  "A job of its own does it, batch by batch; cancel that one to abort it."],
        )  # fmt: skip
        return ask(self, request, question, do)

    def snooze(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Leaves it out of what is open."""
        says = ["It is left out of what is open until then, however often it fails. Its jobs stand failed as before."]

        def do(said: Mapping[str, Any]) -> Done:
            until = timezone.now() + said["length"] if said["length"] else None
            failures.snooze(actor_of(request), fingerprint, until=until, reason=said["reason"])
            return Done("The group is snoozed.", self.at("change", fingerprint))

        return self._say(request, "snooze", fingerprint, {"form": SnoozeForm, "says": says, "do": do})

    def resolve(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Says that its cause is mended."""
        says = ["Its cause is mended: the next failure opens it again. Its jobs stand failed until they are retried."]

        def do(said: Mapping[str, Any]) -> Done:
            failures.resolve(actor_of(request), fingerprint, reason=said["reason"])
            return Done("The group is resolved.", self.at("change", fingerprint))

        return self._say(request, "resolve", fingerprint, {"says": says, "do": do})

    def reopen(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Takes back a snooze or a resolve."""

        def do(said: Mapping[str, Any]) -> Done:
            failures.reopen(actor_of(request), fingerprint, reason=said["reason"])
            return Done("The group is open.", self.at("change", fingerprint))

        says = ["It is open again: somebody has to look."]
        return self._say(request, "reopen", fingerprint, {"says": says, "do": do})

    def note(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Keeps a note with it."""
        require(request, "failure", "note")
        initial = {"text": failures.show(actor_of(request), fingerprint).note}

        def do(said: Mapping[str, Any]) -> Done:
            failures.note(actor_of(request), fingerprint, said["text"])
            return Done("Noted.", self.at("change", fingerprint))

        return self._say(request, "note", fingerprint, {"form": NoteForm, "says": (), "initial": initial, "do": do})

    def _say(self, request: HttpRequest, verb: str, fingerprint: str, more: dict[str, Any]) -> HttpResponse:
        require(request, "failure", verb)
        do = more.pop("do")
        return ask(self, request, self._question(verb, fingerprint, button=VERBS[verb], **more), do)

    def _question(self, verb: str, fingerprint: str, **more: Any) -> Question:
        at = self.at("change", fingerprint)
        return Question(title=f"{VERBS[verb]}: failures {fingerprint}", back=at, **more)
