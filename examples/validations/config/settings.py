"""A product that validates what customers submit. What differs from one place to another comes from the environment."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import django
from django.core.exceptions import ImproperlyConfigured

HERE = Path(__file__).resolve().parent
#: Customers' files, containers, and SQLite's database.
DATA = Path(os.environ.get("VALIDATIONS_DATA", HERE.parent / "data"))

#: What this process is here for; ``manage.py start`` starts it.
APP_ROLE = os.environ.get("APP_ROLE", "worker")
if APP_ROLE not in ("web", "worker", "scheduler"):
    raise ImproperlyConfigured(f"APP_ROLE is {APP_ROLE!r}; it may be web, worker or scheduler.")

SECRET_KEY = "only for an example"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "config.urls"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "taskyard",
    "validations",
    "housekeeping",
    # A package downstream: it brings a schedule and an e-mail of its own, and nothing here knows of them.
    "billing",
]

if "DATABASE_URL" in os.environ:
    _url = urlsplit(os.environ["DATABASE_URL"])
    _database: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _url.hostname,
        "PORT": _url.port or 5432,
        "USER": unquote(_url.username or ""),
        "PASSWORD": unquote(_url.password or ""),
        "NAME": _url.path.lstrip("/"),
    }
else:
    _database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(DATA / "validations.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
    }
DATABASES = {"default": {**_database, "CONN_HEALTH_CHECKS": True}}

MEDIA_ROOT = DATA / "files"
CONTAINERS = DATA / "containers"

MAILS, _MAILER = DATA / "mails", "django.core.mail.backends.filebased.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": _MAILER, "OPTIONS": {"file_path": MAILS}}}
else:
    EMAIL_BACKEND, EMAIL_FILE_PATH = _MAILER, MAILS
BILLING_EMAIL = "billing@validations.example"

# Unset, the database is the broker.
if "REDIS_URL" in os.environ:
    CELERY_BROKER_URL = os.environ["REDIS_URL"]
# The job's row says how it ended; nobody waits for a result.
CELERY_RESULT_BACKEND = None
CELERY_WORKER_CONCURRENCY = int(os.environ.get("CELERY_WORKER_CONCURRENCY", "1"))
CELERY_TASK_SOFT_TIME_LIMIT = 25 * 60
CELERY_TASK_TIME_LIMIT = 30 * 60
CELERY_TASK_TRACK_STARTED = True

# Calls of a clock elsewhere are believed if they are signed with this key; docs/trigger.md has the way with tokens.
TASKYARD = {"TRIGGER": {"KEYS": [os.environ["TRIGGER_KEY"]]} if "TRIGGER_KEY" in os.environ else None}
