"""The project's customers, in the shared part of the database."""

from django.conf import settings
from django.db import models

if settings.KIND == "schemas":
    from django_tenants.models import DomainMixin, TenantMixin

    class _Customer(TenantMixin):
        auto_drop_schema = True

        class Meta:
            abstract = True

    class Domain(DomainMixin):
        pass

else:

    class _Customer(models.Model):
        class Meta:
            abstract = True


class Client(_Customer):
    name = models.CharField(max_length=63, unique=True)
    is_ready = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name
