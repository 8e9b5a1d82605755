"""Django as the tests run it. `TASKYARD_TEST_DB` is sqlite, postgres or mysql; unset: PostgreSQL if there is one.

The database has the same name under test as outside it, and the name is in the environment, so that processes a test
starts with these settings (workers, commands) see the rows the test wrote.
"""

import atexit
import json
import os
import tempfile
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests import servers

SECRET_KEY = "only for tests"
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "taskyard",
    "tests.app",
    "tests.flushing",
    "tests.djangos",
]
TASKS = {"default": {"BACKEND": "taskyard.backend.TaskyardBackend", "QUEUES": []}}
if find_spec("django.tasks") is None:
    INSTALLED_APPS += ["django_tasks"]
MIGRATION_MODULES = {"app": None}
TEMPLATES: list[dict[str, Any]] = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {}}
]
if "TASKYARD_TEST_RUN" not in os.environ:
    # Processes that a test starts do without the admin: it takes a third of a second to come up.
    INSTALLED_APPS += [f"django.contrib.{name}" for name in ("sessions", "messages", "staticfiles", "admin")]
    MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "tests.app.policy.strict",
    ]
    STATIC_URL = "/static/"
    TEMPLATES[0]["OPTIONS"]["context_processors"] = [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A test that starts processes may set more in their environment; durations are seconds.
TASKYARD: dict[str, Any] = {
    key: timedelta(seconds=value["seconds"]) if isinstance(value, dict) and "seconds" in value else value
    for key, value in json.loads(os.environ.get("TASKYARD_TEST_TASKYARD") or "{}").items()
}
for _key, _value in json.loads(os.environ.get("TASKYARD_TEST_CELERY") or "{}").items():
    globals()[f"CELERY_{_key}"] = _value

# Unset, the database is the broker. A test that starts processes on another one says so in their environment.
if os.environ.get("TASKYARD_TEST_BROKER_URL"):
    CELERY_BROKER_URL = os.environ["TASKYARD_TEST_BROKER_URL"]


def _database_kind() -> str:
    kind = os.environ.get("TASKYARD_TEST_DB")
    if kind is None:
        kind = "postgres" if servers.url("postgres", start=False) else "sqlite"
    if kind not in ("sqlite", "postgres", "mysql"):
        raise ValueError(f"TASKYARD_TEST_DB is {kind!r}; it may be sqlite, postgres or mysql.")
    return kind


def _run_name() -> str:
    """One name per test run, handed down to the processes it starts; what it left on disk goes when it ends."""
    name = os.environ.get("TASKYARD_TEST_RUN")
    if name is None:
        name = os.environ["TASKYARD_TEST_RUN"] = servers.fresh_name()
        atexit.register(_remove_files, _sqlite_file(name))
    return name


def _sqlite_file(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"{name}.sqlite3"


def _remove_files(file: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _sqlite() -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(_sqlite_file(_run_name())),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


def _database() -> dict[str, Any]:
    kind = _database_kind()
    if kind == "sqlite":
        entry = _sqlite()
    else:
        # A process that a test starts is told where the server is, and must come up while that is away.
        is_told = os.environ.get("TASKYARD_TEST_RUN") and os.environ.get(servers.KINDS[kind].variable)
        address = is_told or servers.url(kind)
        if address is None:
            raise servers.ServerMissing(f"TASKYARD_TEST_DB={kind}, but: {servers.missing()[kind]}")
        entry = {**servers.django_database(address), "NAME": _run_name()}
        if os.environ.get("TASKYARD_TEST_DB_PORT"):
            # A test put a pooler before the database: its processes go there, and do without server-side cursors.
            entry |= {"PORT": os.environ["TASKYARD_TEST_DB_PORT"], "DISABLE_SERVER_SIDE_CURSORS": True}
    return {**entry, "CONN_HEALTH_CHECKS": True, "TEST": {"NAME": entry["NAME"]}}


DATABASES = {"default": _database()}
