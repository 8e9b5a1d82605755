"""Where health is found: ``path("taskyard/", include("taskyard.urls"))``, or these alone by including this module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import path

from taskyard.monitoring.views import healthz, livez, readyz


def _outside_transactions(view: Callable[..., Any]) -> Callable[..., Any]:
    """With ATOMIC_REQUESTS a database that is away would answer in the place of the view."""
    for alias in settings.DATABASES:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


urlpatterns = [
    path("livez", _outside_transactions(livez), name="taskyard_livez"),
    path("readyz", _outside_transactions(readyz), name="taskyard_readyz"),
    path("healthz", _outside_transactions(healthz), name="taskyard_healthz"),
]
