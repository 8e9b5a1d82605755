"""What fan-outs remember of tenants."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from django.db import models

from taskyard.settings import get_settings


class TenantPlaceManager(models.Manager):  # type: ignore[type-arg]
    """``TenantPlace.objects``: always on the control database."""

    def get_queryset(self) -> models.QuerySet[TenantPlace]:
        return models.QuerySet(self.model, using=self._db or get_settings().database)

    def numbers(self, tenants: Collection[str]) -> dict[str, int]:
        """The number of each tenant; whoever has none gets the next.

        A name that the database takes for another one's (MariaDB: by case alone) is missing in the answer. Waits while
        another open transaction is about to number the same tenant.
        """
        found = self._known(tenants)
        # In order: two fan-outs that number the same tenants wait for each other instead of deadlocking.
        if new := sorted(set(tenants).difference(found)):
            self.get_queryset().bulk_create([TenantPlace(tenant=name) for name in new], ignore_conflicts=True)
            found |= self._known(new)
        return found

    def _known(self, tenants: Collection[str]) -> dict[str, int]:
        return dict(self.get_queryset().filter(tenant__in=tenants).values_list("tenant", "number"))


class TenantPlace(models.Model):
    """A tenant that took part in a spread fan-out: its number never changes, whoever comes and goes."""

    number = models.BigAutoField(primary_key=True)
    tenant = models.CharField(max_length=63, unique=True)

    objects: ClassVar[TenantPlaceManager] = TenantPlaceManager()

    class Meta:
        app_label = "taskyard"

    def __str__(self) -> str:
        return f"{self.number} {self.tenant}"
