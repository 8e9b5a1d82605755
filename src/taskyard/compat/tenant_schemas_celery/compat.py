"""The names of django-tenants that tenant-schemas-celery passes on."""

from __future__ import annotations

from typing import Any

from django_tenants.utils import get_public_schema_name, get_tenant_model, schema_context, tenant_context

# And TenantMixin and TenantTestCase, below.
__all__ = ["get_public_schema_name", "get_tenant_model", "schema_context", "tenant_context"]


def __getattr__(name: str) -> Any:
    # Late: they are models, or import some.
    if name == "TenantMixin":
        from django_tenants.models import TenantMixin

        return TenantMixin
    if name == "TenantTestCase":
        from django_tenants.test.cases import TenantTestCase

        return TenantTestCase
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
