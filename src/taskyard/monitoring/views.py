"""Health over HTTP: is this process there, can it serve, and how is everything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from taskyard.monitoring.diagnosis.finding import Level
from taskyard.monitoring.troubles import unapplied_migrations
from taskyard.operations import Actor
from taskyard.settings import get_settings
from taskyard.tenancy import tenant_context
from taskyard.tenancy.context import find_tenancy

logger = logging.getLogger(__name__)

#: Who may see everything: jobs of all tenants are counted there, and hosts named.
PERMISSION = "view_worker"


@login_not_required
@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers; asks nobody."""
    return JsonResponse({"status": "ok"})


@login_not_required
@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 if the database of the jobs answers and has their tables, else 503; the log says why.

    Not the broker: a web process writes rows, and works while the broker is away.
    """
    try:
        with tenant_context("") if find_tenancy() is not None else nullcontext():
            missing = unapplied_migrations(get_settings().database)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Not ready: the database does not answer: %s", error)
        return _ready({"database": Level.FAIL})
    if missing:
        logger.warning("Not ready: migrations are not applied: %s", ", ".join(missing))
    return _ready({"database": Level.OK, "migrations": Level.FAIL if missing else Level.OK})


def _ready(checks: dict[str, Level]) -> HttpResponse:
    is_ready = Level.FAIL not in checks.values()
    return JsonResponse({"status": "ok" if is_ready else "fail", "checks": checks}, status=200 if is_ready else 503)


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Everything, for monitoring and for people: 503 if a check fails, 200 with warnings; docs/health.md has the shape.

    For a bearer token of ``TASKYARD["HEALTH_TOKENS"]``, or a user with :data:`PERMISSION` who works for all tenants.
    """
    if not _has_token(request):
        user = getattr(request, "user", None)
        if user is None or not user.is_authenticated:
            says = {"status": "unauthorized"}
            return JsonResponse(says, status=401, headers={"WWW-Authenticate": 'Bearer realm="taskyard"'})
        actor = Actor.of_user(user, via="health")
        if not (actor.is_for_all and actor.may(PERMISSION)):
            return JsonResponse({"status": "forbidden"}, status=403)
    # Reads every room; the other two views do without.
    from taskyard.monitoring import deep

    with tenant_context("") if find_tenancy() is not None else nullcontext():
        found = deep.document(timezone.now())
    return JsonResponse(found, status=503 if found["status"] is Level.FAIL else 200, json_dumps_params={"indent": 1})


def _has_token(request: HttpRequest) -> bool:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    tokens = get_settings().health_tokens
    return kind.lower() == "bearer" and any(constant_time_compare(given.encode(), one.secret) for one in tokens)


class HealthMiddleware:
    """Answers ``/livez`` and ``/readyz`` before anything else: first in ``MIDDLEWARE``.

    Probes come by IP address and plain HTTP, which ``ALLOWED_HOSTS``, ``SECURE_SSL_REDIRECT`` and middleware that finds
    a tenant by its host name refuse or redirect.
    """

    sync_capable, async_capable = True, False
    _VIEWS = {"/livez": livez, "/readyz": readyz}

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """That of a view of ours, or whatever comes next."""
        view = self._VIEWS.get(request.path_info)
        return self.get_response(request) if view is None else view(request)
