"""System checks: what would go wrong later is said before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.db import connections
from django.db.utils import ConnectionRouter

from taskyard.errors import ConfigurationError
from taskyard.settings import get_settings
from taskyard.tenancy.databases import TenantRouter

TAG = "taskyard"


def register() -> None:
    """Called by ``TaskyardConfig.ready()``."""
    checks.register(check_settings, TAG)
    checks.register(check_content_types, TAG)
    checks.register(check_schemas, TAG)
    checks.register(check_sqlite_transactions, TAG)
    checks.register(check_tenant_databases, TAG)
    checks.register(check_sqlite_journal, TAG, checks.Tags.database)


def check_settings(app_configs: object, **_: object) -> list[checks.CheckMessage]:
    """E001: ``TASKYARD`` cannot be used; one message for each problem."""
    try:
        get_settings()
    except ConfigurationError as error:
        return [checks.Error(f"TASKYARD: {problem}", id="taskyard.E001") for problem in error.problems]
    return []


def check_content_types(app_configs: object, **_: object) -> list[checks.CheckMessage]:
    """E002: a pickle in a message runs any code; a worker that would accept one does not start."""
    from taskyard.celery import get_app
    from taskyard.celery.worker.quarantine import PICKLE

    try:
        accepted = PICKLE & set(get_app().conf.accept_content or ())
    except ConfigurationError:
        return []
    if not accepted:
        return []
    return [
        checks.Error(
            "Workers would accept pickle: who can write to the broker could run any code.",
            hint="Remove 'pickle' from CELERY_ACCEPT_CONTENT. Arguments and results are JSON.",
            id="taskyard.E002",
        )
    ]


def check_schemas(app_configs: object, **_: object) -> list[checks.CheckMessage]:
    """E003: ``TENANCY`` is ``"schemas"`` and django-tenants is missing, or set up so that it cannot work."""
    try:
        settings = get_settings()
    except ConfigurationError:
        return []
    if settings.tenancy != "schemas":
        return []
    return [
        checks.Error(f"TASKYARD['TENANCY'] is 'schemas', but {problem}", hint=hint, id="taskyard.E003")
        for problem, hint in (*_without_django_tenants(settings.tenant_databases), *_misplaced_app())
    ]


def _without_django_tenants(aliases: Sequence[str]) -> Iterator[tuple[str, str]]:
    if find_spec("django_tenants") is None:
        yield "django-tenants is not installed.", "pip install 'taskyard[schemas]'"
    elif not apps.is_installed("django_tenants"):
        yield (
            "django-tenants is not among the apps.",
            "Put 'django_tenants' first in SHARED_APPS, and with that in INSTALLED_APPS.",
        )
    if not aliases:
        yield "TENANT_DATABASES is empty.", "TASKYARD['TENANT_DATABASES'] = ['default']"
    for alias in aliases:
        if alias not in connections:
            yield (
                f"TENANT_DATABASES names {alias!r}, which DATABASES does not define.",
                "Define that alias, or take it out of TASKYARD['TENANT_DATABASES'].",
            )
        elif not hasattr(connections[alias], "set_tenant"):
            yield (
                f"the database {alias!r} cannot switch schemas.",
                f"DATABASES[{alias!r}]['ENGINE'] = 'django_tenants.postgresql_backend'",
            )


def _misplaced_app() -> Iterator[tuple[str, str]]:
    ours = {"taskyard", "taskyard.apps.TaskyardConfig"}
    public = getattr(django_settings, "PUBLIC_SCHEMA_NAME", "public")
    if getattr(django_settings, "HAS_MULTI_TYPE_TENANTS", False):
        kinds: dict[str, Any] = getattr(django_settings, "TENANT_TYPES", {})
        places = {f"TENANT_TYPES[{kind!r}]['APPS']": kinds[kind].get("APPS", ()) for kind in kinds}
        shared = f"TENANT_TYPES[{public!r}]['APPS']"
    else:
        places = {name: getattr(django_settings, name, ()) for name in ("SHARED_APPS", "TENANT_APPS")}
        shared = "SHARED_APPS"
    for place, names in places.items():
        if place != shared and ours & set(names):
            yield (
                f"{place} lists 'taskyard': jobs written for a tenant would never be found.",
                f"Take 'taskyard' out of {place}, leave it in {shared}, and drop the taskyard_* tables that migrations "
                "already made in tenants' schemas.",
            )
    if not ours & set(places.get(shared, ())):
        yield f"{shared} does not list 'taskyard': public would have no job table.", f"Add 'taskyard' to {shared}."


def check_sqlite_transactions(app_configs: object, **_: object) -> list[checks.CheckMessage]:
    """W001: with SQLite's default mode a transaction that reads and then writes dies of "database is locked"."""
    alias = _sqlite_alias()
    if alias is None:
        return []
    options: dict[str, Any] = connections[alias].settings_dict.get("OPTIONS", {})
    if str(options.get("transaction_mode", "")).upper() in ("IMMEDIATE", "EXCLUSIVE"):
        return []
    return [
        checks.Warning(
            f"Jobs are kept in SQLite ({alias!r}) with transactions that take the write lock late: with a web process "
            "and a worker writing, some of them fail at once with 'database is locked'.",
            hint=f"DATABASES[{alias!r}]['OPTIONS']['transaction_mode'] = 'IMMEDIATE'",
            id="taskyard.W001",
        )
    ]


def check_sqlite_journal(
    app_configs: object, databases: Sequence[str] | None = None, **_: object
) -> list[checks.CheckMessage]:
    """W002: without write-ahead logging a reader stops every writer."""
    alias = _sqlite_alias()
    if alias is None or alias not in (databases or ()):
        return []
    with connections[alias].cursor() as cursor:
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    if mode in ("wal", "memory"):
        return []
    return [
        checks.Warning(
            f"Jobs are kept in SQLite ({alias!r}) in journal mode {mode!r}: whoever reads stops whoever writes.",
            hint=f"DATABASES[{alias!r}]['OPTIONS']['init_command'] = 'PRAGMA journal_mode=WAL;'",
            id="taskyard.W002",
        )
    ]


def check_tenant_databases(app_configs: object, **_: object) -> list[checks.CheckMessage]:
    """E004: tenants have databases of their own, and nothing leads there."""
    try:
        settings = get_settings()
    except ConfigurationError:
        return []
    if settings.tenancy != "databases":
        return []
    problems: list[tuple[str, str | None]] = []
    if not any(isinstance(router, TenantRouter) for router in ConnectionRouter().routers):
        problems.append(
            ("No router leads to them: every tenant would read and write the default database.",
             "DATABASE_ROUTERS = ['taskyard.tenancy.databases.TenantRouter', ...]")
        )  # fmt: skip
    if not settings.tenant_apps:
        problems.append(("No app's models live there.", "TASKYARD['TENANT_APPS'] = ['label of an app', ...]"))
    if unknown := sorted(set(settings.tenant_apps) - {app.label for app in apps.get_app_configs()}):
        problems.append((f"TENANT_APPS names {', '.join(unknown)}, which INSTALLED_APPS does not have.", None))
    if settings.tenants is None:
        problems.append(("Nobody can tell where they are.", "TASKYARD['TENANTS'] = 'path.of.a.callable'"))
    return [
        checks.Error(f"Each tenant is said to have a database of its own. {problem}", hint=hint, id="taskyard.E004")
        for problem, hint in problems
    ]


def _sqlite_alias() -> str | None:
    try:
        alias = get_settings().database
    except ConfigurationError:
        return None
    return alias if connections[alias].vendor == "sqlite" else None
