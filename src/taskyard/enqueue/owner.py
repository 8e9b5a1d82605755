"""Whose job a call becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from taskyard.errors import NoTenant, TenantMismatch
from taskyard.jobs.current import find_current_job
from taskyard.tasks.task import Task
from taskyard.tenancy.context import find_tenancy


def tenant_of_caller() -> str:
    """The tenant that is current here; without tenancy, the label of the running job."""
    tenancy = find_tenancy()
    if tenancy is not None:
        return tenancy.current()
    running = find_current_job()
    return running.tenant if running else ""


def owner_of(task: Task[Any, Any], asked: str | None, *, arguments: Callable[[], Mapping[str, Any]]) -> str:
    """The tenant of a call: as asked, else as its argument says (``tenant_from``), else the current one.

    Raises :class:`TenantMismatch` where two of them differ, and :class:`NoTenant` for a task that needs one.
    """
    options = task.options
    tenant = tenant_of_caller() if asked is None else asked
    if options.tenant_from is not None:
        tenant = _agreed(task, tenant, arguments())
    if not tenant and options.tenant_scope == "tenant":
        raise NoTenant(f"Task {task.name!r}")
    return tenant


def _agreed(task: Task[Any, Any], tenant: str, arguments: Mapping[str, Any]) -> str:
    source = task.options.tenant_from
    said = str(source(arguments) if callable(source) else arguments[source or ""])
    if tenant and said != tenant:
        raise TenantMismatch(f"This call of {task.name!r}", said, current=tenant)
    return said
