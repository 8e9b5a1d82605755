"""A project with tenants; ``TASKYARD_TEST_TENANCY`` says how it separates them: rows (default), schemas, databases."""

import os
from pathlib import Path
from typing import Any

KIND = os.environ.setdefault("TASKYARD_TEST_TENANCY", "rows")
if KIND == "databases":
    # Files cost nothing to make; PostgreSQL when asked for.
    os.environ.setdefault("TASKYARD_TEST_DB", "sqlite")

from tests.settings import *  # noqa: E402, F403
from tests.settings import DATABASES  # noqa: E402
from tests.settings import TASKYARD as _TASKYARD  # noqa: E402

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "taskyard",
    "tests.tenancy.clients",
    "tests.tenancy.shop",
    "tests.flushing",
]
MIGRATION_MODULES = {"clients": None, "shop": None}

if KIND == "schemas":
    MIGRATION_MODULES = {}
    SHARED_APPS = [
        "django_tenants", "django.contrib.contenttypes", "taskyard", "tests.tenancy.clients", "tests.flushing",
    ]  # fmt: skip
    TENANT_APPS = ["tests.tenancy.shop"]
    INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
    TENANT_MODEL = "clients.Client"
    TENANT_DOMAIN_MODEL = "clients.Domain"
    DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
    # Two ways to one database.
    DATABASES = {
        alias: {**DATABASES["default"], "ENGINE": "django_tenants.postgresql_backend"}
        for alias in ("default", "replica")
    }

TASKYARD: dict[str, Any] = {
    "TENANCY": KIND,
    "TENANTS": "tests.tenancy.clients.directory.tenants",
    **_TASKYARD,
}


def tenant_database(name: str) -> dict[str, Any]:
    """Where the tenant of that name has its database: beside the one of jobs."""
    control = DATABASES["default"]
    place = Path(control["NAME"])
    entry = {key: value for key, value in control.items() if key != "TEST"}
    return {**entry, "NAME": str(place.with_name(f"{place.stem}-{name}{place.suffix}"))}


if KIND == "databases":
    DATABASE_ROUTERS = ["taskyard.tenancy.databases.TenantRouter"]
    TASKYARD.setdefault("TENANT_APPS", ["shop"])
    # No tenant's, and not the one of jobs either; exists for the tests that ask for it.
    _orders = tenant_database("orders")
    DATABASES["orders"] = {**_orders, "TEST": {"NAME": _orders["NAME"]}}
