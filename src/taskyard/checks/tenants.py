"""Whether tenants' schemas and databases can be reached as the settings say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.db import connections
from django.db.utils import ConnectionRouter

from taskyard.checks.report import Found
from taskyard.settings import get_settings
from taskyard.tenancy.databases import TenantRouter


def check_schemas() -> Iterator[Found]:
    """E003: ``TENANCY`` is ``"schemas"`` and django-tenants is missing, or set up so that it cannot work."""
    settings = get_settings()
    if settings.tenancy == "schemas":
        for problem, hint in (*_without_django_tenants(settings.tenant_databases), *_misplaced_app()):
            yield Found("E003", f"TASKYARD['TENANCY'] is 'schemas', but {problem}", hint)


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


def check_databases() -> Iterator[Found]:
    """E004: tenants have databases of their own, and nothing leads there."""
    if get_settings().tenancy == "databases":
        for problem, hint in _without_a_way():
            yield Found("E004", f"Each tenant is said to have a database of its own. {problem}", hint)


def _without_a_way() -> Iterator[tuple[str, str]]:
    settings = get_settings()
    if not any(isinstance(router, TenantRouter) for router in ConnectionRouter().routers):
        yield (
            "No router leads to them: every tenant would read and write the default database.",
            "DATABASE_ROUTERS = ['taskyard.tenancy.databases.TenantRouter', ...]",
        )
    if not settings.tenant_apps:
        yield "No app's models live there.", "TASKYARD['TENANT_APPS'] = ['label of an app', ...]"
    if unknown := sorted(set(settings.tenant_apps) - {app.label for app in apps.get_app_configs()}):
        yield f"TENANT_APPS names {', '.join(unknown)}, which INSTALLED_APPS does not have.", ""
    if settings.tenants is None:
        yield "Nobody can tell where they are.", "TASKYARD['TENANTS'] = 'path.of.a.callable'"
