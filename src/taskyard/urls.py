"""Everything Taskyard serves over HTTP: ``path("taskyard/", include("taskyard.urls"))``; each part adds a line."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

from taskyard.api import urls as api
from taskyard.integrations.progress import urls as progress
from taskyard.monitoring import urls as health

app_name = "taskyard"
urlpatterns: list[URLPattern | URLResolver] = [
    *progress.urlpatterns,
    *health.urlpatterns,
    *api.urlpatterns,
]
