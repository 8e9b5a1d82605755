"""Where the app keeps its tasks."""

from __future__ import annotations

import inspect
from typing import Any

from taskyard.celery.registry import Registry
from taskyard.compat.tenant_schemas_celery.task import TenantTask


class TenantTaskRegistry(Registry):
    """Gives a task registered as a class the options of :class:`TenantTask`."""

    def register(self, task: Any) -> None:
        """Add a task."""
        if inspect.isclass(task):
            task = with_tenant_options(task, getattr(task, "name", None))
        super().register(task)


def with_tenant_options(base: Any, name: str | None = None) -> Any:
    """A task class with the options of :class:`TenantTask`, whatever it is derived from."""
    if issubclass(base, TenantTask):
        return base
    body = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (base, TenantTask), body | ({"abstract": True} if name is None else {"name": name}))
