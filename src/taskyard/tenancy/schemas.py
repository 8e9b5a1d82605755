"""A schema per tenant, with django-tenants: PostgreSQL's search path says whose tables are meant."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.models.signals import post_delete, post_save

from taskyard.errors import ConfigurationError, TenantNotReady
from taskyard.settings import get_settings
from taskyard.tenancy.directory import Directory, listed_by_project, ready_of
from taskyard.tenancy.schema_switch import (
    Left,
    Place,
    Stay,
    current_schema,
    enter,
    enter_context,
    leave,
    note_floors,
)  # fmt: skip
from taskyard.tenancy.tenancy import USUAL, Entry, Listed

try:
    from django_tenants.postgresql_backend.base import FakeTenant
    from django_tenants.utils import (
        get_public_schema_name,
        get_tenant_database_alias,
        get_tenant_model,
        quote_schema_name,
    )
except ImportError as error:
    raise ConfigurationError(
        [f"TENANCY is 'schemas', which needs django-tenants ({error}): pip install 'taskyard[schemas]'."]
    ) from error

#: Whether a schema is there, and whether it has a table of ours, which would be met before that of public.
_LOOK = "SELECT to_regnamespace(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL"


class Schemas:
    """``TASKYARD["TENANCY"] = "schemas"``. Without ``TENANTS`` the rows of ``TENANT_MODEL`` are the tenants."""

    def __init__(self) -> None:
        self.public: str = get_public_schema_name()
        self._outside = Place(FakeTenant(schema_name=self.public), True)
        self.directory = Directory(self._find)
        #: Per alias, the schemas found in good order there.
        self._schemas: dict[str, Directory] = {}
        self._names: dict[Any, str] = {}
        # Weakly: a kind that is no longer in use hears nothing.
        post_save.connect(self._forget, sender=get_tenant_model())
        post_delete.connect(self._forget, sender=get_tenant_model())

    def current(self) -> str:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`; true as well within django-tenants' own contexts."""
        schema = current_schema()
        return "" if schema == self.public else schema

    def become(self, tenant: str, entry: Entry = USUAL) -> Left:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`; puts the tenant object on the connections of this thread."""
        return enter(self._stay(tenant, entry))

    async def abecome(self, tenant: str, entry: Entry = USUAL) -> Left:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`.

        ``connection.tenant`` goes on saying where the thread stands, not who this task works for: ask
        :func:`~taskyard.tenancy.current_tenant`.
        """
        return enter_context(await sync_to_async(self._prepared)(tenant, entry))

    def restore(self, previous: Left) -> None:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        leave(previous)

    def listed(self) -> Iterator[Listed]:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`: as ``TENANTS`` says, else ready are those with a schema."""
        left = enter(self._stay("", USUAL))
        try:
            # All at once: whoever takes them one by one enters them in between.
            tenants = list(self._by_schema() if get_settings().tenants is None else listed_by_project())
        finally:
            leave(left)
        yield from tenants

    def ready(self) -> Iterator[str]:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        return ready_of(self.listed())

    def _by_schema(self) -> Iterator[Listed]:
        alias = get_tenant_database_alias()
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT nspname FROM pg_catalog.pg_namespace")
            schemas = {row[0] for row in cursor.fetchall()}
        rows = get_tenant_model()._base_manager.using(alias).exclude(schema_name=self.public)
        for name in rows.order_by("pk").values_list("schema_name", flat=True).iterator():
            yield Listed(name, "" if name in schemas else _no_schema(alias))

    def _prepared(self, tenant: str, entry: Entry) -> Stay:
        stay = self._stay(tenant, entry)
        note_floors(stay)
        return stay

    def _stay(self, tenant: str, entry: Entry) -> Stay:
        usual = get_settings().tenant_databases
        aliases = usual if entry.databases is None else entry.databases
        if tenant in ("", self.public):
            places = dict.fromkeys((*usual, *aliases), self._outside)
        else:
            place = Place(self.directory.find(tenant, entry.cache), True)
            for alias in aliases:
                self._schemas_of(alias).find(tenant, entry.cache)
            # What the task leaves aside is public in it, not the previous tenant's.
            places = dict.fromkeys(usual, self._outside) | dict.fromkeys(aliases, place)
        return Stay(places, main=(*aliases, *usual)[0])

    def _find(self, name: str) -> Any:
        """The tenant object, asked for in public whoever is current; None if nobody knows it."""
        left = enter(self._in_public(get_tenant_database_alias()))
        try:
            tenants = get_settings().tenants
            found = name if tenants is None else tenants(name)
            if isinstance(found, str):
                rows = get_tenant_model()._base_manager.using(get_tenant_database_alias())
                found = rows.filter(schema_name=found).first()
        finally:
            leave(left)
        if found is None or found.schema_name != name:
            return None
        self._names[found.pk] = name
        return found

    def _schemas_of(self, alias: str) -> Directory:
        return self._schemas.setdefault(alias, Directory(partial(self._look, alias)))

    def _look(self, alias: str, name: str) -> bool:
        schema = quote_schema_name(name)
        left = enter(self._in_public(alias))
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute(_LOOK, [schema, f"{schema}.taskyard_job"])
                is_there, has_our_table = cursor.fetchone()
        finally:
            leave(left)
        if not is_there:
            raise TenantNotReady(name, _no_schema(alias))
        if has_our_table:
            raise TenantNotReady(name, "its schema has Taskyard's tables, which belong to public alone; drop them")
        return True

    def _in_public(self, alias: str) -> Stay:
        return Stay(dict.fromkeys((alias, *get_settings().tenant_databases), self._outside), main=alias)

    def _forget(self, instance: Any, using: str, **_: object) -> None:
        # Under its old name too, if it was renamed; and again at the commit, before which others still find the old.
        for name in {instance.schema_name, self._names.get(instance.pk, instance.schema_name)}:
            self._forget_name(name)
            transaction.on_commit(partial(self._forget_name, name), using=using, robust=True)

    def _forget_name(self, name: str) -> None:
        for directory in (self.directory, *self._schemas.values()):
            directory.forget(name)


def _no_schema(alias: str) -> str:
    return f"there is no schema of that name in the database {alias!r}"
