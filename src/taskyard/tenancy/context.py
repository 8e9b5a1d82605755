"""Who the tenant is here, and how to become it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Self, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from taskyard.errors import ConfigurationError, NoTenant, TaskyardError
from taskyard.settings import get_settings
from taskyard.tenancy.directory import name_of
from taskyard.tenancy.tenancy import Entry, Tenancy

F = TypeVar("F", bound=Callable[..., Any])

_KINDS = {
    "schemas": "taskyard.tenancy.schemas.Schemas",
    "databases": "taskyard.tenancy.databases.Databases",
    "rows": "taskyard.tenancy.rows.Rows",
}


@lru_cache(maxsize=1)
def find_tenancy() -> Tenancy | None:
    """The project's kind of tenancy, or None for a project without."""
    kind = get_settings().tenancy
    return import_string(_KINDS[kind])() if kind else None


def get_tenancy() -> Tenancy:
    """The project's kind of tenancy; raises :class:`~taskyard.errors.ConfigurationError` for a project without."""
    tenancy = find_tenancy()
    if tenancy is None:
        raise ConfigurationError(["TENANCY is not set: this project has no tenants to enter."])
    return tenancy


def current_tenant() -> str:
    """The name of the tenant this code runs for; empty outside of all tenants, and in projects without."""
    tenancy = find_tenancy()
    return "" if tenancy is None else tenancy.current()


def ready_tenants() -> Iterator[str]:
    """The names of all tenants whose jobs may run, for a job that walks from one to the next with tenant_context."""
    return get_tenancy().ready()


class tenant_context(contextlib.ContextDecorator):
    """Become a tenant for a while: ``with``, ``async with`` or a decorator; may be nested, and restores what was there.

    As a decorator it takes functions, also asynchronous ones; generators are refused, because what they yield to would
    be within the tenant as well. One that is entered belongs to its thread or asyncio task until it is left there.
    ``tenant`` is a name, or with django-tenants the tenant object; the empty name is outside of all tenants (with
    schemas: public). ``databases`` are the aliases to switch, where it is not those of the settings. Raises
    :class:`~taskyard.errors.UnknownTenant` and :class:`~taskyard.errors.TenantNotReady`; then the body does not run.
    """

    def __init__(self, tenant: Any, *, databases: tuple[str, ...] | None = None) -> None:
        self.tenant, self.entry = name_of(tenant), Entry(databases)
        self._previous: list[Any] = []
        self._holder: object = None

    def _recreate_cm(self) -> Self:
        # A decorated function may be running several times at once.
        return type(self)(self.tenant, databases=self.entry.databases)

    def __call__(self, func: F) -> F:
        """The function within the tenant."""
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise TaskyardError(f"{func.__qualname__} is a generator: write `with tenant_context(...)` within it.")
        if not iscoroutinefunction(func):
            return super().__call__(func)

        @functools.wraps(func)
        async def run(*args: Any, **kwargs: Any) -> Any:
            async with self._recreate_cm():
                return await func(*args, **kwargs)

        return cast(F, run)

    def _hold(self) -> None:
        # Another one's end would take what was there before this one for its own, and hand on the wrong tenant.
        if self._previous and self._holder is not _whoever():
            raise TaskyardError(f"This tenant_context({self.tenant!r}) is entered elsewhere: make one for each use.")
        self._holder = _whoever()

    def __enter__(self) -> Self:
        self._hold()
        self._previous.append(get_tenancy().become(self.tenant, self.entry))
        return self

    def __exit__(self, *exc: object) -> None:
        get_tenancy().restore(self._previous.pop())

    async def __aenter__(self) -> Self:
        self._hold()
        self._previous.append(await get_tenancy().abecome(self.tenant, self.entry))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.__exit__(*exc)


def _whoever() -> object:
    try:
        return asyncio.current_task() or threading.current_thread()
    except RuntimeError:
        return threading.current_thread()


def set_tenant(tenant: Any) -> None:
    """Become a tenant from here on, for scripts and middleware; the empty name leaves it again.

    It holds for this thread or asyncio task until it is set again: a middleware that sets it must unset it.
    """
    get_tenancy().become(name_of(tenant))


def tenant_key(name: str) -> str:
    """A name that is the current tenant's own, for caches, search indices and other systems: ``<tenant>:<name>``.

    Raises :class:`~taskyard.errors.NoTenant` outside of all tenants.
    """
    current = current_tenant()
    if not current:
        raise NoTenant(f"The key {name!r}")
    return f"{_escaped(current)}:{name}"


def cache_key(key: str, key_prefix: str, version: int | str) -> str:
    """Django's ``KEY_FUNCTION``: each tenant has a cache of its own, and what is outside of all tenants another."""
    return f"{key_prefix}:{version}:{_escaped(current_tenant())}:{key}"


def _escaped(tenant: str) -> str:
    # Else "a" with the key "b:c" and "a:b" with the key "c" would share one.
    return tenant.replace("%", "%25").replace(":", "%3A")


def _forget(*, setting: str, **_: object) -> None:
    if setting in ("TASKYARD", "DATABASES"):
        find_tenancy.cache_clear()


setting_changed.connect(_forget)
