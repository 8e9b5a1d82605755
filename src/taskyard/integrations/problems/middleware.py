"""Errors that leave a project's own views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import PermissionDenied
from django.core.handlers.exception import response_for_exception
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.log import log_response

from taskyard.integrations.problems.problem import Problem, problem_of

_JSON = {"application/json", "application/problem+json", "application/*"}
_HTML = {"text/html", "application/xhtml+xml", "text/*"}


class ProblemMiddleware:
    """Answers with problem+json where a view raises an error of Taskyard, or one that a task declares.

    Whoever prefers HTML gets Django's own pages: of 403 and 404 the project's, else that of an error. Other errors are
    left to others. A transaction of ``ATOMIC_REQUESTS`` is rolled back by then, and what is our fault is logged and
    signalled as Django does, for whoever collects errors.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Nothing of its own."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Called by Django when a view raised."""
        problem = problem_of(error)
        if problem is None:
            return None
        if prefers_html(request):
            return _page(request, problem)
        response = problem.response(request.path)
        if problem.status == 500:
            got_request_exception.send(sender=type(self), request=request)
            log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request,
                         exception=error)  # fmt: skip
        return response


def _page(request: HttpRequest, problem: Problem) -> HttpResponseBase | None:
    if problem.status == 403:
        return response_for_exception(request, PermissionDenied(problem.detail))
    if problem.status == 404:
        return response_for_exception(request, Http404(problem.detail))
    return None


def prefers_html(request: HttpRequest) -> bool:
    """Whether HTML is asked for by name, and more than JSON: ``*/*`` alone is a program."""
    named = [(f"{kind.main_type}/{kind.sub_type}", kind.quality) for kind in request.accepted_types]
    html = max((quality for name, quality in named if name in _HTML), default=0.0)
    return html > max((quality for name, quality in named if name in _JSON), default=0.0)
