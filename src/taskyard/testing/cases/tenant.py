"""A test as a tenant, whichever way the project keeps its tenants apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from taskyard.settings import get_settings
from taskyard.tenancy.context import find_tenancy, tenant_context
from taskyard.testing.tenants import tenants_allowed


@contextmanager
def as_tenant(tenant: Any) -> Iterator[None]:
    """Within, the test is this tenant, with schemas, databases or rows; the empty name is nobody.

    With a database for each tenant, the test may connect to them (:func:`taskyard.testing.tenants_allowed`, with its
    limit: what is written there is committed). The tenant must exist. At the end whoever was current before must be
    again: ``AssertionError`` if the test has left another one behind. Raises what
    :class:`~taskyard.tenancy.tenant_context` raises.
    """
    allowed = tenants_allowed() if get_settings().tenancy == "databases" else nullcontext()
    with allowed, tenant_context(tenant) as entered:
        yield
        tenancy = find_tenancy()
        if tenancy is not None and tenancy.current() != entered.tenant:
            raise AssertionError(
                f"The test was to be tenant {entered.tenant!r} and ended as {tenancy.current()!r}: something entered a "
                "tenant and did not leave it (set_tenant() without unsetting it?)."
            )
