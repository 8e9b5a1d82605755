"""Errors that leave views of Django REST framework, which answers them before any middleware."""

from __future__ import annotations

from typing import Any

from taskyard.integrations.problems.problem import CONTENT_TYPE, problem_of


def drf_exception_handler(exc: Exception, context: dict[str, Any]) -> Any:
    """``REST_FRAMEWORK = {"EXCEPTION_HANDLER": "taskyard.integrations.problems.drf_exception_handler"}``.

    Errors that are not ours are answered as the framework does. A handler of the project's own may call this one first:
    it returns what the framework's would.
    """
    from rest_framework.response import Response
    from rest_framework.views import exception_handler, set_rollback

    problem = problem_of(exc)
    if problem is None or (problem.status == 500):
        # A fault is the project's to see: its own handlers, pages and collectors of errors get it.
        return exception_handler(exc, context)
    set_rollback()
    request = context.get("request")
    renderer = getattr(request, "accepted_renderer", None)
    is_json = renderer is None or renderer.format == "json"
    path = request.path if request is not None else ""
    return Response(
        problem.document(path), status=problem.status, headers=problem.headers,
        content_type=CONTENT_TYPE if is_json else None,
    )  # fmt: skip
