"""Part of ``taskyard.urls``."""

from __future__ import annotations

from django.urls import path

from taskyard.integrations.progress.views import events_view, progress_view

urlpatterns = [
    path("progress/", progress_view, name="progress"),
    path("progress/events/", events_view, name="progress-events"),
]
