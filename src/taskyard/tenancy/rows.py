"""Tenants that share tables: a context variable, and a manager that shows each of them its own rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from asgiref.sync import sync_to_async
from django.db import models

from taskyard.errors import NoTenant, TenantMismatch
from taskyard.tenancy.directory import Directory, listed_by_project, ready_of
from taskyard.tenancy.tenancy import USUAL, Entry, Listed

_current: ContextVar[str] = ContextVar("taskyard_tenant", default="")


class Rows:
    """``TASKYARD["TENANCY"] = "rows"``. Without ``TENANTS`` every name is a tenant."""

    def __init__(self) -> None:
        self.directory = Directory()

    def current(self) -> str:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        return _current.get()

    def become(self, tenant: str, entry: Entry = USUAL) -> str:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        if tenant:
            self.directory.find(tenant, entry.cache)
        return _set(tenant)

    async def abecome(self, tenant: str, entry: Entry = USUAL) -> str:
        """See :class:`~taskyard.tenancy.tenancy.Tenancy`."""
        if tenant:
            await sync_to_async(self.directory.find)(tenant, entry.cache)
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


class TenantManager(models.Manager):  # type: ignore[type-arg]
    """Shows the rows of the current tenant, and raises :class:`~taskyard.errors.NoTenant` where there is none.

    ``field`` names the column or the path to it, for example ``"tenant"`` or ``"account__slug"``. Give the model a
    plain manager under another name for the few places that look across tenants. Django itself uses the model's
    ``_base_manager`` for related objects and deletions: those are not filtered.
    """

    def __init__(self, field: str = "tenant") -> None:
        super().__init__()
        self.field = field

    def get_queryset(self) -> models.QuerySet[Any]:
        """Rows of the current tenant."""
        return super().get_queryset().filter(**{self.field: required_tenant(self.model._meta.label)})


class TenantRow(models.Model):
    """A model with a column ``tenant`` that is the current one's, filled in and held to it when a row is saved."""

    tenant = models.CharField(max_length=63, editable=False, db_index=True)

    objects = TenantManager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As Django's; raises :class:`~taskyard.errors.TenantMismatch` for a row of another tenant."""
        current = required_tenant(self._meta.label)
        self.tenant = self.tenant or current
        if self.tenant != current:
            raise TenantMismatch(f"{self._meta.label} {self.pk}", self.tenant, current=current)
        super().save(*args, **kwargs)


def _set(tenant: str) -> str:
    previous = _current.get()
    _current.set(tenant)
    return previous


def required_tenant(what: str) -> str:
    """The current tenant; raises :class:`~taskyard.errors.NoTenant` where there is none."""
    current = _current.get()
    if not current:
        raise NoTenant(what)
    return current
