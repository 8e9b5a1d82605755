"""The towns, in the shared schema."""

from typing import Any

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

from taskyard.errors import TenantNotReady


class Town(TenantMixin):
    name = models.CharField(max_length=100)
    #: Its books are imported, its staff is trained: jobs may run for it.
    ready = models.BooleanField(default=False)

    auto_create_schema = False
    auto_drop_schema = True

    def __str__(self) -> str:
        return self.name

    def open(self) -> None:
        """Make its tables; from now on its jobs run."""
        self.create_schema(check_if_exists=True, verbosity=0)
        self.ready = True
        self.save()


class Domain(DomainMixin):
    """Which host name leads to which town; this example has no pages."""


def towns(name: str | None = None) -> Any:
    """What ``TASKYARD["TENANTS"]`` names: all that are ready, or one by its schema."""
    if name is None:
        return Town.objects.filter(ready=True).order_by("schema_name")
    town = Town.objects.filter(schema_name=name).first()
    if town is not None and not town.ready:
        raise TenantNotReady(name, "it has not opened yet")
    return town
