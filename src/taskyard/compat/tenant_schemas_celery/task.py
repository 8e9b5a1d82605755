"""The base class of a project's tasks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from taskyard.celery.messages import SCHEMA, tenant_of_schema
from taskyard.celery.registry import JobTask
from taskyard.compat.tenant_schemas_celery.cache import SimpleCache
from taskyard.errors import UnknownTenant
from taskyard.settings import get_settings
from taskyard.tenancy import current_tenant, tenant_context
from taskyard.tenancy.context import get_tenancy
from taskyard.tenancy.tenancy import Entry

_shared_storage: dict[Any, Any] = {}


class SharedTenantCache(SimpleCache):
    """One cache for all tasks of a process."""

    def __init__(self) -> None:
        super().__init__(storage=_shared_storage)


def headers_with_schema(headers: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The headers with the current schema, in a copy; as they are where they name one."""
    if headers and SCHEMA in headers:
        return headers
    return {**(headers or {}), SCHEMA: current_schema_name()}


def current_schema_name() -> str:
    """The current tenant's schema; public's name outside of all tenants."""
    from taskyard.compat.tenant_schemas_celery.compat import get_public_schema_name

    name: str = current_tenant() or get_public_schema_name()
    return name


class TenantTask(JobTask):
    """A task that runs for a tenant; any task of Taskyard's does, so this one only adds that package's options."""

    abstract = True

    #: Seconds for which a tenant is used again without asking; None: as the settings say.
    tenant_cache_seconds: int | None = None
    #: Aliases whose schema is switched; None: as the settings say.
    tenant_databases: Sequence[str] | None = None

    @classmethod
    def get_tenant_databases(cls) -> Sequence[str]:
        """The aliases whose schema is switched."""
        if cls.tenant_databases is not None:
            return cls.tenant_databases
        configured: Sequence[str] | None = getattr(cls._conf(), "task_tenant_databases", None)
        return get_settings().tenant_databases if configured is None else configured

    @classmethod
    def tenant_cache(cls) -> SharedTenantCache:
        """A cache that all tasks share. The tenants themselves Taskyard remembers, and forgets when they are saved."""
        return SharedTenantCache()

    @classmethod
    def get_tenant_for_schema(cls, schema_name: str) -> Any:
        """The tenant object; raises the model's ``DoesNotExist``."""
        from taskyard.compat.tenant_schemas_celery.compat import get_tenant_model

        try:
            return get_tenancy().directory.find(schema_name, cls._cache_for())  # type: ignore[attr-defined]
        except UnknownTenant as error:
            raise get_tenant_model().DoesNotExist(str(error)) from error

    @classmethod
    def tenant_entry(cls) -> Entry:
        """How an attempt of this task enters its tenant."""
        return Entry(tuple(cls.get_tenant_databases()), cls._cache_for())

    @classmethod
    def _cache_for(cls) -> dt.timedelta | None:
        seconds = cls.tenant_cache_seconds
        if seconds is None:
            seconds = getattr(cls._conf(), "task_tenant_cache_seconds", None)
        return None if seconds is None else dt.timedelta(seconds=int(seconds))

    @classmethod
    def _conf(cls) -> Any:
        return cls._get_app().conf

    def apply(self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
        """Run it here and now, for the tenant its headers name or the current one."""
        headers = headers_with_schema(options.get("headers"))
        tenant = tenant_of_schema(str(headers[SCHEMA]))
        with tenant_context(tenant, databases=tuple(self.get_tenant_databases())):
            return super().apply(args, kwargs, *more, **{**options, "headers": headers})
