"""Where the API is found: ``path("taskyard/", include("taskyard.urls"))`` serves it below ``taskyard/api/v1/``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.urls import URLPattern, path
from django.views.decorators.csrf import csrf_exempt

from taskyard.api.dispatch import Resource, no_such_address
from taskyard.api.openapi import openapi_view
from taskyard.api.routes import all_routes

PREFIX = "api/v1/"


def _open(view: Callable[..., Any]) -> Callable[..., Any]:
    """It asks for the session's CSRF token and for who calls by itself, and operations have their own transactions."""

    def entered(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    entered.resource = view  # type: ignore[attr-defined]
    found: Callable[..., Any] = csrf_exempt(login_not_required(entered))
    for alias in settings.DATABASES:
        found = transaction.non_atomic_requests(using=alias)(found)
    return found


def _patterns() -> list[URLPattern]:
    found: dict[str, list[Any]] = {}
    for each in all_routes():
        found.setdefault(each.path, []).append(each)
    # Words before what may be any word.
    paths = sorted(found, key=lambda one: [part.startswith("<") for part in one.split("/")])
    views = [path(PREFIX + one, _open(Resource(found[one]))) for one in paths]
    return [
        path(f"{PREFIX}openapi.json", _open(openapi_view), name="api-openapi"), *views,
        path(f"{PREFIX}<path:rest>", _open(no_such_address)), path(PREFIX, _open(no_such_address)),
    ]  # fmt: skip


urlpatterns = _patterns()
