"""The tenants as the project names them (``TASKYARD["TENANTS"]``), remembered for a while."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from taskyard.errors import ConfigurationError, TaskyardError, TenantNotReady, UnknownTenant
from taskyard.settings import get_settings
from taskyard.tenancy.tenancy import Listed

#: Tenants remembered by a process; the one that was asked about longest ago is forgotten first.
_MOST_REMEMBERED = 10_000
#: Why a tenant is not ready, where the project does not say.
NO_REASON = "the project says so"


class Directory:
    """Finds a tenant by its name; one per process, shared by its threads."""

    def __init__(self, find: Callable[[str], Any] | None = None) -> None:
        self._find = find or _ask_the_project
        # Without a lock: one that is held while a pool's child is forked would stay held in it.
        self._known: dict[str, tuple[float, Any]] = {}

    def find(self, name: str, max_age: dt.timedelta | None = None) -> Any:
        """What the project says of the tenant, at most ``max_age`` old; raises :class:`UnknownTenant`."""
        seconds = (get_settings().tenant_cache if max_age is None else max_age).total_seconds()
        if seconds <= 0:
            return self._ask(name)
        at, tenant = self._known.get(name, (0.0, None))
        if tenant is None or time.monotonic() - at > seconds:
            tenant = self._ask(name)
            self._known.pop(name, None)
            self._known[name] = time.monotonic(), tenant
            while len(self._known) > _MOST_REMEMBERED:
                with contextlib.suppress(KeyError, RuntimeError, StopIteration):
                    # Other threads may be changing it at the same time.
                    del self._known[next(iter(self._known))]
        return tenant

    def _ask(self, name: str) -> Any:
        tenant = self._find(name)
        if tenant is None:
            self.forget(name)
            raise UnknownTenant(name)
        return tenant

    def forget(self, name: str | None = None) -> None:
        """Ask again at the next opportunity: for one tenant, or for all."""
        if name is None:
            self._known.clear()
        else:
            self._known.pop(name, None)


def _ask_the_project(name: str) -> Any:
    tenants = get_settings().tenants
    return name if tenants is None else tenants(name)


def listed_by_project() -> Iterator[Listed]:
    """The tenants as ``TENANTS`` lists them; raises :class:`ConfigurationError` without it.

    A :class:`~taskyard.errors.TenantNotReady` among them is a tenant that cannot be worked for, and why.
    """
    tenants = get_settings().tenants
    if tenants is None:
        raise ConfigurationError(["TENANTS is not set: nobody can tell which tenants there are."])
    for tenant in tenants():
        if isinstance(tenant, TenantNotReady):
            yield Listed(name_of(tenant.tenant), tenant.reason or NO_REASON)
        else:
            yield Listed(name_of(tenant))


def ready_of(listed: Iterable[Listed]) -> Iterator[str]:
    """The names of those that are ready."""
    return (name for name, why_not in listed if not why_not)


def name_of(tenant: Any) -> str:
    """The name of a tenant that is given as a string or as django-tenants' object; raises :class:`TaskyardError`."""
    name = tenant if isinstance(tenant, str) else getattr(tenant, "schema_name", None)
    if not isinstance(name, str):
        raise TaskyardError(f"{tenant!r} is no tenant: pass its name, or with django-tenants the tenant object.")
    return name
