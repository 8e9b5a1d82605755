"""An error as a problem document: RFC 9457, https://www.rfc-editor.org/rfc/rfc9457."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import sys
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, JsonResponse

from taskyard.errors import Retry
from taskyard.integrations.problems.kinds import KINDS, kind_of
from taskyard.tasks import registry
from taskyard.tasks.answers import answer_to

CONTENT_TYPE = "application/problem+json"
_OURS = "urn:taskyard:error:"
_DECLARED = "urn:taskyard:task-error:"
_LONGEST = 1_000
#: What Django itself answers.
_DJANGOS = (BadRequest, Http404, PermissionDenied, SuspiciousOperation)


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """What a client is told of an error. Never a traceback, a setting, or another tenant's name."""

    status: int
    #: Names the kind of problem for programs: a URN that is never renamed.
    type: str
    title: str
    detail: str
    #: Id of the job it is about, where there is one.
    job: str | None = None
    #: Id of the saga that it ended, and how that stood then: ``compensated``, or what is left to be done.
    saga: str | None = None
    saga_state: str | None = None
    #: When to try again, in seconds.
    retry_after: int | None = None

    def document(self, instance: str = "") -> dict[str, Any]:
        """As JSON; ``instance`` is the path of the request."""
        said = {
            "type": self.type, "title": self.title, "status": self.status, "detail": self.detail,
            "instance": instance, "job": self.job, "saga": self.saga, "saga_state": self.saga_state,
        }  # fmt: skip
        return {name: value for name, value in said.items() if value not in (None, "")}

    @property
    def headers(self) -> dict[str, str]:
        """``Retry-After``, where that is known."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    def response(self, instance: str = "") -> JsonResponse:
        """As a response of Django's."""
        return JsonResponse(
            self.document(instance), status=self.status, headers=self.headers, content_type=CONTENT_TYPE
        )


def problem_of(error: BaseException) -> Problem | None:
    """What a client is told of an error of Taskyard, or of one that a task or an orchestrator declares.

    Of a declared one: the status that ``errors=`` gives it, and the first line of the class's docstring. Its message is
    not shown, because nobody wrote it for the client. Any other is None, and left to others; but where it ended a saga
    that ran inline, and Django has no answer to it either, that saga is named with the status 500.
    """
    about: dict[str, Any] = {"job": _job_of(error), **_saga_of(error)}
    declared = answer_to(type(error))
    if declared is not None:
        return dataclasses.replace(_declared(*declared), **about)
    found = kind_of(type(error))
    if found is None and about["saga"] and not isinstance(error, _DJANGOS):
        found = "SagaFailed", KINDS["SagaFailed"]
    if found is None:
        return None
    name, ours = found
    says = str(error)[:_LONGEST] if ours.is_public else ours.says
    after = error.after if isinstance(error, Retry) and error.after is not None else None
    wait = _seconds(after) or ours.retry_after
    return Problem(ours.status, _OURS + _dashed(name), ours.title, says, retry_after=wait, **about)


def problem_of_job(task: str, error: Mapping[str, Any] | None) -> Problem | None:
    """What a job failed with, as its record tells it, is to a client: if its task declares that error, else None.

    Only a class that this process has loaded is known, and of what is not the declared class itself its bases.
    """
    module, _, name = str((error or {}).get("type") or "").rpartition(".")
    found: Any = sys.modules.get(module or "builtins")
    kind = getattr(found, name, None) if name.isidentifier() else None
    if not (isinstance(kind, type) and issubclass(kind, Exception)) or registry.find(task) is None:
        return None
    declared = answer_to(kind, task=task)
    return None if declared is None else _declared(*declared)


def _declared(kind: type[Exception], status: int) -> Problem:
    title = _words(kind.__name__)
    says = next(iter((kind.__doc__ or "").strip().splitlines()), "") or f"{title}."
    return Problem(status, _DECLARED + _dashed(kind.__name__), title, says)


def _job_of(error: BaseException) -> str | None:
    job = getattr(getattr(error, "job", None), "id", None) or getattr(error, "job_id", None)
    return str(job) if job else None


def _saga_of(error: BaseException) -> dict[str, Any]:
    saga = getattr(error, "saga_id", None)
    state = getattr(error, "saga_state", None) if saga else None
    return {"saga": str(saga) if saga else None, "saga_state": str(state) if state else None}


def _seconds(length: dt.timedelta | None) -> int | None:
    return None if length is None else max(1, round(length.total_seconds()))


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).capitalize()


def _dashed(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
