"""A document vault for several organisations, a database for each: SQLite files, or PostgreSQL with DATABASE_URL."""

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from config.plugins import active

#: Commands of crontab files run here.
BASE_DIR = Path(__file__).resolve().parent.parent
#: Where SQLite's files, the cache and log files are.
DATA = Path(os.environ.get("VAULT_DATA", BASE_DIR / "data"))

SECRET_KEY = "only for an example"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if "DATABASE_URL" in os.environ:
    _url = urlsplit(os.environ["DATABASE_URL"])
    _control = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _url.hostname,
        "PORT": _url.port or 5432,
        "USER": unquote(_url.username or ""),
        "PASSWORD": unquote(_url.password or ""),
        "NAME": _url.path.lstrip("/"),
        "CONN_HEALTH_CHECKS": True,
    }
else:
    _control = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(DATA / "control.sqlite3"),
        # Several processes write: see the notes on SQLite in docs/operations.md.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }

# The organisations' own databases are not here: accounts.directory names them.
DATABASES = {"default": _control}
DATABASE_ROUTERS = ["taskyard.tenancy.databases.TenantRouter"]

#: What a plugin offers is there while its name is in this list, and only then.
PLUGINS = [f"plugins.{name}" for name in active()]
INSTALLED_APPS = ["taskyard", "accounts", "search", "documents", "customers", "orchestrators", *PLUGINS]
#: Whom a saga acts for: number 1 is another person in each organisation, and is looked up in its own database.
AUTH_USER_MODEL = "documents.Member"

ROOT_URLCONF = "config.urls"
ALLOWED_HOSTS = ["127.0.0.1"]
#: Errors that orchestrators declare become answers.
MIDDLEWARE = ["taskyard.integrations.problems.ProblemMiddleware"]

#: The file store, and the billing service: `billing_service.py`.
FILES = DATA / "files"
BILLING = os.environ.get("BILLING", "http://127.0.0.1:8099")

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": str(DATA / "cache"),
        "KEY_FUNCTION": "taskyard.tenancy.cache_key",
    }
}

# Seconds; nothing here takes that long, and what hangs must not hold a worker for ever.
CELERY_TASK_TIME_LIMIT = 300

TASKYARD = {
    "TENANCY": "databases",
    "TENANTS": "accounts.directory.tenants",
    "TENANT_APPS": ["documents", "customers"],
    "TENANT_CONNECTIONS": 5,
    "CRONTABS": ["crontab", "plugins/{plugin}/crontab"],
    "CRONTAB_PLUGINS": "config.plugins.active",
    "CRONTAB_LOGS": DATA / "logs",
    # When a worker that is not heard of is gone.
    "WORKER_TIMEOUT": timedelta(seconds=float(os.environ.get("WORKER_TIMEOUT_SECONDS", "20"))),
    "HEARTBEAT": timedelta(seconds=float(os.environ.get("WORKER_TIMEOUT_SECONDS", "20")) / 4),
}
