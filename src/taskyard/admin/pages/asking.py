"""Asking before something is done: a page that says what happens, takes a reason, and does it when it is sent."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from taskyard.admin.verbs import actor_of
from taskyard.errors import NotAllowed, NotFound, TaskyardError, UnknownQueue, UnknownTenant
from taskyard.operations.acting.verbs import find_verb

_PAGE = "admin/taskyard/ask.html"


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        max_length=500, required=False, widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
        help_text="Kept in the audit.",
    )  # fmt: skip


class NeededReasonForm(ReasonForm):
    """Why, of what cannot be taken back or concerns much."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A page that asks."""

    title: str
    #: What happens, a sentence each.
    says: Sequence[str]
    #: What stands on the button, and where one goes who does not want to.
    button: str
    back: str
    form: type[forms.Form] = ReasonForm
    initial: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    #: What it is done to: words and an address each.
    about: Sequence[tuple[str, str]] = ()
    #: What is sent along.
    hidden: Sequence[tuple[str, str]] = ()
    #: There are more than those.
    is_more: bool = False
    is_grave: bool = False
    #: There is nothing to be done: no button.
    is_empty: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """What was done, and where to go."""

    says: str
    to: str
    level: int = messages.SUCCESS


def ask(admin: Any, request: HttpRequest, question: Question, do: Callable[[dict[str, Any]], Done]) -> HttpResponse:
    """The page, or what it was sent for; what could not be done is said on it."""
    is_said = request.method == "POST" and "said" in request.POST
    form = question.form(request.POST if is_said else None, initial=dict(question.initial))
    status = 200
    if is_said and form.is_valid():
        try:
            done = do(form.cleaned_data)
        except (NotFound, NotAllowed):
            raise
        except (TaskyardError, TypeError) as error:
            # TypeError: arguments that the task does not take.
            form.add_error(None, str(error))
            status = 409
        else:
            admin.message_user(request, done.says, done.level)
            return HttpResponseRedirect(done.to)
    context = admin.context(request, question.title, question=question, form=form)
    return TemplateResponse(request, _PAGE, context, status=status)


def answered(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """What is not there, or another tenant's, is 404; what somebody may not do 403."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(*args, **kwargs)
        except (NotFound, UnknownQueue, UnknownTenant) as error:
            raise Http404(str(error)) from error
        except NotAllowed as error:
            raise PermissionDenied(str(error)) from error

    return answer


def open_verbs(request: HttpRequest, kind: str, names: Sequence[str]) -> list[str]:
    """Those of the verbs that make sense to offer."""
    actor = actor_of(request)
    return [name for name in names if find_verb(kind, name).is_open_to(actor)]


def require(request: HttpRequest, kind: str, name: str) -> None:
    """Raise :class:`~taskyard.errors.NotAllowed` before something is shown that could not be done anyway."""
    actor, verb = actor_of(request), find_verb(kind, name)
    for each in verb.permissions:
        actor.require_all_tenants(each) if verb.for_all else actor.require(each)
