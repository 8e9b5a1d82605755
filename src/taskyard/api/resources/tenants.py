"""Tenants: what they have waiting, and what they may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskyard.api.documents import DONE, fields_of, page_shape
from taskyard.api.limits import LIMIT, LIMITS, limits_of, said_of
from taskyard.api.resources.jobs import REASON
from taskyard.api.routes import Asked, route
from taskyard.api.shapes import Number, Object, Text, Whole, body
from taskyard.operations import tenants

_TENANT = Object(
    {"name": Text(), "waiting": Whole(), "running": Whole(), "failed": Whole()}, name="Tenant"
)  # fmt: skip
_REASON = body(reason=REASON, optional="*")
_LIMIT = body(**LIMIT, weight=Number(0, 1_000), optional="*")
_LIMITS = Object({**LIMITS.fields, "weight": Number()}, name="TenantLimits")


@route("GET", "tenants", "view_tenant", answer=page_shape(_TENANT, "Tenants"))
def list_tenants(asked: Asked) -> Mapping[str, Any]:
    """Tenants that have jobs waiting, running or failed. All of them: `next` is null."""
    return {"items": [fields_of(each) for each in tenants.list_(asked.actor)], "next": None}


@route("POST", "tenants/<path:name>/pause", "pause_tenant", body=_REASON, answer=DONE)
def pause_tenant(asked: Asked) -> Mapping[str, Any]:
    """Feed nothing of a tenant to workers until it is resumed. For operators of all tenants."""
    return {"changed": tenants.pause(asked.actor, [asked.path["name"]], **asked.body)}


@route("POST", "tenants/<path:name>/resume", "pause_tenant", body=_REASON, answer=DONE)
def resume_tenant(asked: Asked) -> Mapping[str, Any]:
    """Feed a tenant again. For operators of all tenants."""
    return {"changed": tenants.resume(asked.actor, [asked.path["name"]], **asked.body)}


@route("POST", "tenants/<path:name>/limit", "limit_tenant", body=_LIMIT, answer=_LIMITS)
def limit_tenant(asked: Asked) -> Mapping[str, Any]:
    """Say how much a tenant may have; null: no limit, what is not given stays. For operators of all tenants."""
    row = tenants.limit(asked.actor, asked.path["name"], **said_of(asked.body))
    return {**limits_of(row), "weight": row.weight}
