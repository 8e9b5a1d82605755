"""Django for `bench.pages`: the admin and the API on a database that is filled once and kept."""

import os

from tests import servers

SECRET_KEY = "only for measuring"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "bench.pages_urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.admin",
    "taskyard",
    "tests.app",
]
MIGRATION_MODULES = {"app": None}
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
DATABASES = {"default": {**servers.django_database(os.environ["TASKYARD_BENCH_URL"]), "CONN_MAX_AGE": None}}
