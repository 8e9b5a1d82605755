"""A database per tenant: an alias on first use, a router to the current tenant's, a bounded number of connections."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, models
from django.db.backends.signals import connection_created

from taskyard.errors import ConfigurationError, NoTenant, TenantMismatch, UnknownTenant
from taskyard.settings import get_settings
from taskyard.tenancy.aliases import PREFIX, alias_of, aliases, is_tenants
from taskyard.tenancy.directory import Directory, listed_by_project, name_of, ready_of
from taskyard.tenancy.tenancy import USUAL, Entry, Listed

_current: ContextVar[str] = ContextVar("taskyard_tenant_database", default="")

#: The one table of Taskyard's own that stands in each tenant's database.
_OUTBOX = "outboxmessage"


class Databases:
    """``TASKYARD["TENANCY"] = "databases"``.

    ``TASKYARD["TENANTS"]`` is asked: ``tenants(name)`` returns connection settings as in ``DATABASES``, or None for a
    tenant it does not know, or raises :class:`~taskyard.errors.TenantNotReady`; ``tenants()`` yields the names of the
    ready ones. ``ATOMIC_REQUESTS`` in these settings is ignored. Entering a tenant connects to nothing.
    """

    def __init__(self) -> None:
        self.directory = Directory(_ask_the_project)

    def current(self) -> str:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        return _current.get()

    def become(self, tenant: str, entry: Entry = USUAL) -> str:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        if tenant:
            self.prepare(tenant, entry.cache)
        return _set(tenant)

    async def abecome(self, tenant: str, entry: Entry = USUAL) -> str:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        if tenant:
            await sync_to_async(self.prepare)(tenant, entry.cache)
        return _set(tenant)

    def restore(self, previous: str) -> None:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        _current.set(previous)

    def listed(self) -> Iterator[Listed]:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        return listed_by_project()

    def ready(self) -> Iterator[str]:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        return ready_of(self.listed())

    def prepare(self, tenant: str, max_age: dt.timedelta | None = None) -> str:
        """Register the alias of a tenant, as the project says now; the alias."""
        alias = alias_of(tenant)
        try:
            given = self.directory.find(tenant, max_age)
        except UnknownTenant:
            aliases.forget(alias)
            raise
        aliases.register(alias, given, most=get_settings().tenant_connections)
        return alias


def database_of(tenant: Any = None) -> str:
    """The alias of a tenant's database, for ``using=`` and ``transaction.atomic``; without a name, the current one's.

    Ask each time: an alias that nobody uses is forgotten when other tenants come, and this registers it again. Raises
    :class:`~taskyard.errors.NoTenant`, :class:`~taskyard.errors.UnknownTenant` and
    :class:`~taskyard.errors.TenantNotReady`.
    """
    name = _current.get() if tenant is None else name_of(tenant)
    if not name:
        raise NoTenant("A tenant's database")
    alias = alias_of(name)
    if not aliases.knows(alias):
        _tenancy().prepare(name)
    aliases.use(alias, keep=alias_of(_current.get()), most=get_settings().tenant_connections)
    return alias


def migrate_tenant(tenant: Any, connection: Mapping[str, Any] | None = None, *, verbosity: int = 0) -> None:
    """Make or renew the tables of a tenant's database: those of ``TENANT_APPS``, and Taskyard's outbox.

    The database itself must exist. ``connection`` are its settings where the project does not name the tenant yet, so
    that a tenant is called ready only when it is. May be called again after a crash, and by several processes for
    different tenants at once. ``manage.py migrate`` without ``--database`` migrates the others, without these tables.
    """
    name = name_of(tenant)
    alias = alias_of(name)
    if connection is None:
        _tenancy().prepare(name)
    else:
        aliases.register(alias, connection, most=get_settings().tenant_connections)
    previous = _set(name)
    try:
        call_command("migrate", database=alias, interactive=False, verbosity=verbosity, run_syncdb=True)
    finally:
        _current.set(previous)


def forget_tenants() -> None:
    """Close this thread's connections to tenants and forget every alias; for the end of a test."""
    aliases.forget()


class TenantRouter:
    """Sends each model to where it lives; name it first in ``DATABASE_ROUTERS``.

    Models of ``TASKYARD["TENANT_APPS"]`` live in the current tenant's database and raise
    :class:`~taskyard.errors.NoTenant` outside of all tenants, and an object that was read from one tenant raises
    :class:`~taskyard.errors.TenantMismatch` in another. Taskyard's own live in the control database.
    """

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        """The alias of a query."""
        return _home(model, hints.get("instance"))

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str | None:
        """The alias of a change."""
        return _home(model, hints.get("instance"))

    def allow_relation(self, obj1: models.Model, obj2: models.Model, **hints: Any) -> bool | None:
        """Objects of a tenant refer to objects of the same database only."""
        if is_tenants(obj1._state.db) or is_tenants(obj2._state.db):
            return obj1._state.db == obj2._state.db
        return None

    def allow_migrate(self, db: str, app_label: str, *, model_name: str | None = None, **hints: Any) -> bool | None:
        """Tenants' tables in tenants' databases, and no others there."""
        settings = get_settings()
        if app_label == "taskyard" and (model_name or "").lower() == _OUTBOX:
            return is_tenants(db) or db in settings.outbox_databases
        if is_tenants(db):
            return app_label in settings.tenant_apps
        if app_label == "taskyard":
            return db == settings.database
        return False if app_label in settings.tenant_apps else None


def _home(model: type[models.Model], instance: models.Model | None) -> str | None:
    settings, meta = get_settings(), model._meta
    origin = None if instance is None else instance._state.db
    if meta.app_label in settings.tenant_apps or meta.label_lower == f"taskyard.{_OUTBOX}":
        current = _current.get()
        if not current:
            raise NoTenant(meta.label)
        if is_tenants(origin) and origin != alias_of(current):
            raise TenantMismatch(meta.label, str(origin).removeprefix(PREFIX), current=current)
        return database_of(current)
    if meta.app_label == "taskyard":
        return settings.database
    # Left to itself, Django would look for it where the object stands that refers to it.
    return DEFAULT_DB_ALIAS if is_tenants(origin) else None


def _tenancy() -> Databases:
    # The context names this kind, and makes it.
    from taskyard.tenancy.context import get_tenancy

    tenancy = get_tenancy()
    if not isinstance(tenancy, Databases):
        raise ConfigurationError(["TENANCY is not 'databases': no tenant has a database of its own."])
    return tenancy


def _ask_the_project(name: str) -> Mapping[str, Any] | None:
    tenants = get_settings().tenants
    if tenants is None:
        raise ConfigurationError(["TENANTS is not set: nobody can tell which database a tenant has."])
    given = tenants(name)
    if given is None or (isinstance(given, Mapping) and given):
        return given
    raise ConfigurationError([f"TENANTS({name!r}) must return connection settings as in DATABASES, or None."])


def _opened(connection: Any, **_: object) -> None:
    if is_tenants(connection.alias):
        aliases.opened(connection)
        current = alias_of(_current.get())
        aliases.use(connection.alias, keep=current, most=get_settings().tenant_connections)


def _set(tenant: str) -> str:
    previous = _current.get()
    _current.set(tenant)
    return previous


connection_created.connect(_opened, dispatch_uid="taskyard_tenant_opened")
