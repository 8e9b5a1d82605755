from django.apps import apps
from django.urls import URLPattern, URLResolver, include, path

from tests.app import pages

urlpatterns: list[URLPattern | URLResolver] = [
    path("taskyard/", include("taskyard.urls")),
    path("celery-progress/", include("taskyard.integrations.progress.celery_progress")),
    path("follow/<str:job>/", pages.follow),
]
if apps.is_installed("django.contrib.admin"):
    from django.contrib import admin

    urlpatterns.append(path("admin/", admin.site.urls))
