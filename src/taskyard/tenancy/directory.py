"""The tenants as the project names them (``TASKYARD["TENANTS"]``), remembered for a while."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterator
from typing import Any

from taskyard.errors import ConfigurationError, TaskyardError, UnknownTenant
from taskyard.settings import get_settings

#: Tenants remembered by a process; the one that was asked about longest ago is forgotten first.
_MOST_REMEMBERED = 10_000


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


def ready_names() -> Iterator[str]:
    """The tenants the project lists; raises :class:`ConfigurationError` if it lists none."""
    tenants = get_settings().tenants
    if tenants is None:
        raise ConfigurationError(["TENANTS is not set: nobody can tell which tenants there are."])
    for tenant in tenants():
        yield name_of(tenant)


def name_of(tenant: Any) -> str:
    """The name of a tenant that is given as a string or as django-tenants' object; raises :class:`TaskyardError`."""
    name = tenant if isinstance(tenant, str) else getattr(tenant, "schema_name", None)
    if not isinstance(name, str):
        raise TaskyardError(f"{tenant!r} is no tenant: pass its name, or with django-tenants the tenant object.")
    return name
