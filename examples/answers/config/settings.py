"""Documents, and answers found in them. What differs from one place to another comes from the environment."""

import datetime as dt
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).resolve().parent.parent
#: SQLite's database.
DATA = Path(os.environ.get("ANSWERS_DATA", HERE / "data"))

SECRET_KEY = "only for an example"
#: For Django's own server, which then serves the style sheet; workers do without.
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
ROOT_URLCONF = "config.urls"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
STATICFILES_DIRS = [HERE / "static"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

INSTALLED_APPS = [
    "taskyard",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "documents",
    "answers",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [HERE / "templates"],
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

if "DATABASE_URL" in os.environ:
    _url = urlsplit(os.environ["DATABASE_URL"])
    _database: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _url.hostname,
        "PORT": _url.port or 5432,
        "USER": unquote(_url.username or ""),
        "PASSWORD": unquote(_url.password or ""),
        "NAME": _url.path.lstrip("/"),
        # Behind PgBouncer in transaction mode, the next statement may come to another connection of the server.
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
else:
    _database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(DATA / "answers.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
    }
# A connection that died meanwhile is noticed before a task gets it.
DATABASES = {"default": {**_database, "CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}}

# memcached is for this alone: neither broker nor results.
if "MEMCACHED" in os.environ:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": os.environ["MEMCACHED"],
        }
    }
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# Unset, the database is the broker.
if "BROKER_URL" in os.environ:
    CELERY_BROKER_URL = os.environ["BROKER_URL"]
CELERY_TASK_ROUTES = {
    "*.batch_generate_*": {"queue": "batch"},
    "answers.generate_answer": {"queue": "batch"},
    "*embed_*": {"queue": "embedding"},
    "documents.sync_*": {"queue": "default"},
}
CELERY_TASK_SOFT_TIME_LIMIT = 30 * 60
CELERY_TASK_TIME_LIMIT = 35 * 60
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_RESULT_EXPIRES = dt.timedelta(days=1)

TASKYARD = {
    # What no route names goes to Celery's own default, `celery`.
    "QUEUES": ["default", "embedding", "batch", "celery"],
    # Whose the runs of schedules are; `manage.py set_up` makes that user.
    "SCHEDULE_USER": os.environ.get("SYSTEM_USER", "1"),
    "BATCH_STALE_AFTER": dt.timedelta(minutes=30),
    # What a second click gets.
    "DUPLICATE_STATUS": 400,
    "WORKER_TIMEOUT": dt.timedelta(seconds=float(os.environ.get("WORKER_TIMEOUT_SECONDS", "20"))),
    "HEARTBEAT": dt.timedelta(seconds=float(os.environ.get("WORKER_TIMEOUT_SECONDS", "20")) / 4),
}
#: One worker for each: its queues, and how many jobs at a time.
WORKERS = {"default": ("default,celery", 4), "embedding": ("embedding", 2), "batch": ("batch", 2)}

#: What workers log (`taskyard worker` reads it) and our own loggers, apart from what Django logs.
CELERY_LOGGING_LEVEL = os.environ.get("CELERY_LOGGING_LEVEL", "WARNING")
_TO_THE_SCREEN = {"handlers": ["screen"], "propagate": False}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"screen": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "django": {**_TO_THE_SCREEN, "level": os.environ.get("DJANGO_LOGGING_LEVEL", "WARNING")},
        **{name: {**_TO_THE_SCREEN, "level": CELERY_LOGGING_LEVEL} for name in ("documents", "answers")},
    },
}

#: Whether a document that is saved for the first time gets its embedding by itself.
EMBED_NEW_DOCUMENTS = True
#: What the sample sources serve.
TEXTS = HERE.parent.parent / "docs"
#: Stands for the time that a language model would take for one answer.
SECONDS_PER_ANSWER = float(os.environ.get("SECONDS_PER_ANSWER", "0.5"))
