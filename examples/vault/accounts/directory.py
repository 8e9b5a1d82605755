"""Which organisations there are, and where their databases are: what ``TASKYARD["TENANTS"]`` names."""

from pathlib import Path
from typing import Any

from django.conf import settings

from accounts.models import Organisation
from taskyard.errors import TenantNotReady
from taskyard.tenancy.databases import migrate_tenant


def tenants(name: str | None = None) -> Any:
    """All that are ready, or the connection settings of one."""
    if name is None:
        return Organisation.objects.filter(ready=True).order_by("slug").values_list("slug", flat=True)
    organisation = Organisation.objects.filter(slug=name).first()
    if organisation is None:
        return None
    if not organisation.ready:
        raise TenantNotReady(name, "it has not moved in yet")
    return database(name)


def database(slug: str) -> dict[str, Any]:
    """As an entry of ``DATABASES``: beside the control database, with the organisation's name."""
    control = settings.DATABASES["default"]
    if control["ENGINE"].endswith("sqlite3"):
        return {**control, "NAME": str(Path(control["NAME"]).with_name(f"org-{slug}.sqlite3"))}
    return {**control, "NAME": f"{control['NAME']}_{slug}"}


def move_in(slug: str) -> None:
    """Make the database of an organisation and its tables; from the last line on its jobs run."""
    Organisation.objects.get_or_create(slug=slug)
    place = database(slug)
    if place["ENGINE"].endswith("postgresql"):
        _create(place["NAME"])
    migrate_tenant(slug, place)
    Organisation.objects.filter(slug=slug).update(ready=True)


def _create(name: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if not cursor.fetchone():
            cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(name)}")
