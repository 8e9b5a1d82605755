"""Who the tenant is, and how to become it: one contract, one file per kind."""

from taskyard.tenancy.context import cache_key, current_tenant, ready_tenants, set_tenant, tenant_context, tenant_key
from taskyard.tenancy.fanout import enqueue_for_tenants

__all__ = [
    "cache_key",
    "current_tenant",
    "enqueue_for_tenants",
    "ready_tenants",
    "set_tenant",
    "tenant_context",
    "tenant_key",
]
