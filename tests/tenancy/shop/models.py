"""What belongs to a tenant."""

from django.conf import settings
from django.db import models

from taskyard import TrackedModel
from taskyard.tenancy.rows import TenantRow

_Owned: type[models.Model] = TenantRow if settings.KIND == "rows" else models.Model


class Visit(_Owned):
    #: Whoever wrote it says here who it believed to be.
    written_by = models.CharField(max_length=63)
    job = models.CharField(max_length=36, default="")
    text = models.CharField(max_length=100, default="")

    def __str__(self) -> str:
        return f"{self.written_by}: {self.text}"


class Report(TrackedModel, _Owned):
    """Says itself how far it is."""

    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class PublicVisit(models.Model):
    """Shared by all tenants."""

    written_by = models.CharField(max_length=63)

    def __str__(self) -> str:
        return self.written_by
