"""What ``TASKYARD["TENANTS"]`` names."""

from typing import Any

from django.conf import settings

from taskyard.errors import TenantNotReady


def tenants(name: str | None = None) -> Any:
    from tests.tenancy.clients.models import Client

    if name is None:
        clients = Client.objects.values_list("name", "is_ready").iterator()
        return (name if is_ready else TenantNotReady(name, "it is being made") for name, is_ready in clients)
    client = Client.objects.filter(name=name).first()
    if client is not None and not client.is_ready:
        raise TenantNotReady(name)
    if client is not None and settings.KIND == "databases":
        return database(name)
    return client


def database(name: str) -> dict[str, Any]:
    """The connection settings of a tenant."""
    from tests.tenancy.settings import tenant_database

    return tenant_database(name)
