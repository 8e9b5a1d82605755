from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("taskyard/", include("taskyard.urls")), path("admin/", admin.site.urls)]
