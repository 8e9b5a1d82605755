"""Pages, the admin, what the sample sources serve, and what live bars ask."""

from answers import views as answers
from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path
from documents import feeds, views

urlpatterns = [
    path("", answers.home, name="home"),
    path("questionnaires/<int:pk>/", answers.questionnaire, name="questionnaire"),
    path("questionnaires/<int:pk>/start/", answers.start, name="start"),
    path("questionnaires/<int:pk>/cancel/", answers.cancel, name="cancel"),
    path("documents/", views.documents, name="documents"),
    path("documents/add/", views.add, name="add"),
    path("documents/embed/", views.embed, name="embed"),
    path("documents/<int:pk>/", views.document, name="document"),
    path("sources/", views.sources, name="sources"),
    path("sources/validate/", views.validate_all, name="validate-all"),
    path("sources/sync/", views.sync_all, name="sync-all"),
    path("sources/<int:pk>/sync/", views.sync, name="sync"),
    path("sources/<int:pk>/validate/", views.validate, name="validate"),
    path("feeds/<slug:name>/", feeds.feed, name="feed"),
    path("login/", auth.LoginView.as_view(), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("taskyard/", include("taskyard.urls")),
    path("admin/", admin.site.urls),
]
