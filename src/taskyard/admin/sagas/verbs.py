"""What somebody may do to a saga, or to one of its steps: a page for each that says what follows, and asks why."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse

from taskyard.admin.fields import JsonField
from taskyard.admin.pages.asking import Done, NeededReasonForm, Question, ReasonForm, answered, ask, require
from taskyard.admin.pages.lists import Listed
from taskyard.admin.sagas.offers import OF_SAGA, OF_STEP, fork_places, kept_by_resume
from taskyard.admin.verbs import actor_of
from taskyard.operations import sagas
from taskyard.sagas.reading.queries import SagaReading
from taskyard.sagas.states import StepKind, StepState
from taskyard.sagas.writing import store

_UNDONE = (StepState.COMPENSATION_QUEUED, StepState.COMPENSATION_RETRYING, StepState.COMPENSATION_FAILED)


class AnyJsonField(JsonField):
    """JSON of any kind; empty: None."""

    def __init__(self, **options: Any) -> None:
        super().__init__(object, **options)

    def to_python(self, value: Any) -> Any:
        text = forms.CharField.to_python(self, value)
        return self._read(text) if text else None


class SignalForm(ReasonForm):
    """What it is told."""

    name = forms.ChoiceField(label="Signal", help_text="The step that waits for it.")
    payload = AnyJsonField(help_text='JSON, like {"by": "zoe"}; empty: nothing.')
    key = forms.CharField(
        required=False, max_length=150, help_text="The same key twice is the same signal; empty: none."
    )
    field_order = ("name", "payload", "key", "reason")


class ForkForm(ReasonForm):
    """Where the new one begins."""

    step = forms.ChoiceField(label="Begins at", help_text="What came before it is taken over, and not run again.")
    field_order = ("step", "inputs", "reason")


class ForkWithInputsForm(ForkForm):
    """The same, with other inputs."""

    inputs = JsonField(
        dict, help_text="All of them. What is hidden stays as it is stored.",
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false"}),
    )  # fmt: skip


class WithVerbs(Listed):
    """The pages of the verbs, for the admin of sagas."""

    def get_urls(self) -> list[URLPattern]:
        """``<id>/cancel/``, ``<id>/retry_step/<step>/`` and so on, before Django's own."""
        views = {"signal": self._signal, "fork": self._fork}
        of_saga = [
            self._path(f"<uuid:saga_id>/{verb}/", verb, views.get(verb) or self._of_saga(verb)) for verb in OF_SAGA
        ]
        of_step = [
            self._path(f"<uuid:saga_id>/{verb}/<str:step>/", verb, view)
            for verb, view in (("retry_step", self._retry_step), ("skip_step", self._skip_step))
        ]
        return [*of_saga, *of_step, *super().get_urls()]

    def _path(self, route: str, verb: str, view: Callable[..., HttpResponse]) -> URLPattern:
        @answered
        def page(request: HttpRequest, saga_id: uuid.UUID, **more: Any) -> HttpResponse:
            require(request, "saga", verb)
            return view(request, sagas.show(actor_of(request), saga_id), **more)

        return path(route, self.admin_site.admin_view(page), name=f"taskyard_saga_{verb}")

    def at_verb(self, verb: str, *args: Any) -> str:
        """The address of a verb's page."""
        return reverse(f"admin:taskyard_saga_{verb}", args=args, current_app=self.admin_site.name)

    def _question(self, saga: SagaReading, verb: str, says: Sequence[str], **more: Any) -> Question:
        at, label = self.at("change", saga.id), {**OF_SAGA, **OF_STEP}[verb]
        return Question(**{
            "title": f"{label} this saga", "says": says, "button": label, "back": at,
            "about": [(f"{saga.name} {saga.id}", at)], **more,
        })  # fmt: skip

    # -- the whole of it -----------------------------------------------------------------------------------------------

    def _of_saga(self, verb: str) -> Callable[..., HttpResponse]:
        act, said = {
            "resume": (sagas.resume, "It goes on forward."),
            "compensate": (sagas.compensate, "What was done is being undone."),
            "cancel": (sagas.cancel, "It is to be cancelled: what was done is being undone."),
        }[verb]

        def page(request: HttpRequest, saga: SagaReading) -> HttpResponse:
            def do(given: Mapping[str, Any]) -> Done:
                act(actor_of(request), saga.id, reason=given["reason"])
                return Done(said, self.at("change", saga.id))

            says = _forward(saga, actor_of(request).tenant) if verb == "resume" else _back(saga)
            question = self._question(saga, verb, says, is_grave=verb != "resume", button=f"{OF_SAGA[verb]} it")
            return ask(self, request, question, do)

        return page

    def _signal(self, request: HttpRequest, saga: SagaReading) -> HttpResponse:
        waits = sorted((step for step in saga.steps if step.kind == StepKind.SIGNAL), key=_is_not_awaited)

        def do(said: Mapping[str, Any]) -> Done:
            name, payload = said["name"], said["payload"]
            actor, key = actor_of(request), said["key"] or None
            is_new = sagas.signal(actor, saga.id, name, payload, key=key, reason=said["reason"])
            at = self.at("change", saga.id)
            if is_new:
                return Done(f"It was told “{name}”.", at)
            return Done("It was told that already: the key is the same.", at, messages.WARNING)

        question = self._question(
            saga, "signal", ["It is kept until its step waits for it, and used once."], is_empty=not waits,
            form=_choosing(SignalForm, "name", [step.name for step in waits]), button="Send it",
        )  # fmt: skip
        return ask(self, request, question, do)

    def _fork(self, request: HttpRequest, saga: SagaReading) -> HttpResponse:
        actor = actor_of(request)
        row, run = store.read(saga.id, tenant=actor.tenant)
        # Where none fits, the verb itself says why.
        places = fork_places(store.plan_of(row.plan), run) or [step.name for step in saga.steps]

        def do(said: Mapping[str, Any]) -> Done:
            is_other = actor.sees_payload and said["inputs"] != saga.inputs
            inputs = said["inputs"] if is_other else None
            new = sagas.fork(actor, saga.id, said["step"], inputs=inputs, reason=said["reason"])
            return Done(f"This is the new saga: it begins at {said['step']!r}.", self.at("change", new.id))

        question = self._question(
            saga, "fork", _forked(saga), button="Start it", initial={"inputs": saga.inputs, "step": places[-1]},
            form=_choosing(ForkWithInputsForm if actor.sees_payload else ForkForm, "step", places),
        )  # fmt: skip
        return ask(self, request, question, do)

    # -- a step --------------------------------------------------------------------------------------------------------

    def _retry_step(self, request: HttpRequest, saga: SagaReading, step: str) -> HttpResponse:
        what = _named(saga, step)
        says = [f"{what[:1].upper()}{what[1:]} is tried again now, and its retries are counted from none."]
        return self._ask_step(request, saga, "retry_step", says=says, step=step, what=what)

    def _skip_step(self, request: HttpRequest, saga: SagaReading, step: str) -> HttpResponse:
        what = _named(saga, step)
        says = (
            "Its effect stays as it is, and the saga goes on with what else is to be undone."
            if what.startswith("the compensation")
            else "It is not run, it counts as done without a result, and the saga goes on behind it."
        )
        return self._ask_step(request, saga, "skip_step", says=[says], step=step, what=what)

    def _ask_step(
        self, request: HttpRequest, saga: SagaReading, verb: str, *, says: Sequence[str], step: str, what: str
    ) -> HttpResponse:
        is_skip = verb == "skip_step"

        def do(given: Mapping[str, Any]) -> Done:
            act = sagas.skip_step if is_skip else sagas.retry_step
            act(actor_of(request), saga.id, step, reason=given["reason"])
            said = "is skipped" if is_skip else "is tried again"
            return Done(f"{what[:1].upper()}{what[1:]} {said}.", self.at("change", saga.id))

        question = self._question(
            saga, verb, says, title=f"{OF_STEP[verb]} {what}", button=f"{OF_STEP[verb]} it", is_grave=is_skip,
            form=NeededReasonForm if is_skip else ReasonForm,
        )  # fmt: skip
        return ask(self, request, question, do)


def _named(saga: SagaReading, name: str) -> str:
    step = next((step for step in saga.steps if step.name == name), None)
    if step is None:
        raise Http404
    return f"the compensation of {name!r}" if step.state in _UNDONE else f"step {name!r}"


def _is_not_awaited(step: Any) -> bool:
    return bool(step.state != StepState.WAITING)


def _choosing(form: type[forms.Form], name: str, words: Sequence[str]) -> type[forms.Form]:
    """That form, with something to choose from."""

    class Choosing(form):  # type: ignore[valid-type,misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.fields[name].choices = [(word, word) for word in words]
            self.fields["reason"].widget.attrs.pop("autofocus", None)

    return Choosing


def _forward(saga: SagaReading, tenant: str | None) -> list[str]:
    again = [step.name for step in saga.steps if step.state == StepState.COMPENSATED]
    row, run = store.read(saga.id, tenant=tenant)
    kept = kept_by_resume(store.plan_of(row.plan), run)
    return [
        "It goes on forward: what failed is tried again.",
        f"Done once more, as it was undone: {', '.join(again)}." if again else "",
        f"Not run again, as its effect stands: {', '.join(kept)}." if kept else "",
    ]


def _back(saga: SagaReading) -> list[str]:
    done = [
        step for step in reversed(saga.steps)
        if step.state in (StepState.SUCCEEDED, *_UNDONE) and not step.is_taken_over
    ]  # fmt: skip
    undone = [step.name for step in done if step.has_rollback or step.kind == StepKind.SAGA]
    stays = [step.name for step in done if step.name not in undone and step.kind == StepKind.CALL]
    return [
        "A step that a worker is in is waited for; then what was done is undone, the latest first.",
        f"To be undone: {', '.join(undone)}." if undone else "No step that has succeeded has anything to undo.",
        f"Without a way to undo it, and stays: {', '.join(stays)}." if stays else "",
    ]


def _forked(saga: SagaReading) -> list[str]:
    return [
        "A new saga begins at a step of this one, with what came before taken over; this one stays as it is, and "
        "nothing that it did is undone.",
        "The new one undoes only what it ran itself.",
    ]  # fmt: skip
