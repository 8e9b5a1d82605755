"""The Celery app, and the functions with which a schema was switched by hand."""

from __future__ import annotations

from typing import Any

from taskyard.celery.application import Celery
from taskyard.celery.messages import SCHEMA, tenant_of_schema
from taskyard.compat.tenant_schemas_celery.registry import with_tenant_options
from taskyard.compat.tenant_schemas_celery.task import TenantTask, current_schema_name, headers_with_schema
from taskyard.tenancy.context import get_tenancy

__all__ = ["CeleryApp", "get_schema_name_from_task", "headers_with_schema", "restore_schema", "switch_schema"]


class CeleryApp(Celery):
    """``taskyard.celery.Celery`` under its other name; every task runs for its tenant, whatever its base class is.

    ``registry_cls`` and ``task_cls`` may be overridden in a subclass: objects or their dotted names.
    """

    registry_cls = "taskyard.compat.tenant_schemas_celery.registry:TenantTaskRegistry"
    task_cls: Any = "taskyard.compat.tenant_schemas_celery.task:TenantTask"

    def create_task_cls(self) -> Any:
        """The base class of tasks that name none."""
        return self.subclass_with_self(self.task_cls, abstract=True, name="TenantTask", attribute="_app")

    def _task_from_fun(self, fun: Any, name: str | None = None, base: Any = None, **options: Any) -> Any:
        return super()._task_from_fun(fun, name, base and with_tenant_options(base), **options)


def get_schema_name_from_task(task: Any, kwargs: Any) -> str:
    """The schema a task's message names; where it names none, the current one."""
    said = (task.request.headers or {}).get(SCHEMA) or task.request.get(SCHEMA)
    return str(said or current_schema_name())


def switch_schema(task: Any, kwargs: Any, **_: Any) -> None:
    """Enter the tenant of the task's message. Attempts do it by themselves: this is for code that called it by hand.

    Raises :class:`~taskyard.errors.UnknownTenant` and :class:`~taskyard.errors.TenantNotReady`.
    """
    entry = task.tenant_entry() if isinstance(task, TenantTask) else TenantTask.tenant_entry()
    tenant = tenant_of_schema(get_schema_name_from_task(task, kwargs))
    # On the request and not the task: two of them may run at once.
    entered = [*(task.request.get("taskyard_entered") or ()), get_tenancy().become(tenant, entry)]
    task.request.taskyard_entered = entered


def restore_schema(task: Any, **_: Any) -> None:
    """Go back to what was there before :func:`switch_schema`, tenant object and all."""
    entered = task.request.get("taskyard_entered")
    if entered:
        get_tenancy().restore(entered.pop())
