"""Work that belongs to no town."""

from customers.models import Town
from taskyard import task
from taskyard.tenancy import current_tenant


@task(tenant_scope="public")
def count_towns() -> str:
    return f"{Town.objects.filter(ready=True).count()} towns, counted in {current_tenant() or 'public'}"
