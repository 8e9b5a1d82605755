"""Verbs about tenants. What one may have is said by operators of all of them, not by its own people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from taskyard.errors import TaskyardError, UnknownTenant
from taskyard.failures.queries import count_by_tenant
from taskyard.jobs import queries
from taskyard.jobs.models import Job
from taskyard.jobs.queries import TenantOverview
from taskyard.operations.acting import holding
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.verbs import verb
from taskyard.outbox.models import TenantSetting
from taskyard.tenancy import tenant_context
from taskyard.tenancy.context import find_tenancy

_SECOND = dt.timedelta(seconds=1)


@verb("tenant", "view_tenant", reads=True)
def list_(actor: Actor) -> list[TenantOverview]:
    """Tenants that have jobs waiting, running or failed; to one of a tenant, that one alone."""
    return queries.tenant_overview(count_by_tenant(actor.tenant), tenant=actor.tenant)


@verb("tenant", "pause_tenant", for_all=True)
def pause(actor: Actor, names: Sequence[str], *, reason: str = "") -> int:
    """Feeds nothing of tenants to workers until they are resumed; how many were not paused before."""
    check_names(names)
    return holding.pause(actor, "tenant", names=names, reason=reason)


@verb("tenant", "pause_tenant", for_all=True)
def resume(actor: Actor, names: Sequence[str], *, reason: str = "") -> int:
    """Feeds tenants again; how many were paused."""
    check_names(names)
    return holding.resume(actor, "tenant", names=names, reason=reason)


@verb("tenant", "limit_tenant", for_all=True)
def limit(actor: Actor, /, name: str, *, per: dt.timedelta = _SECOND, **said: Any) -> TenantSetting:
    """Says how much a tenant may have: ``weight``, ``max_running`` at a time, ``rate`` starts ``per`` that time.

    What is not given stays; None takes a limit away. Raises :class:`~taskyard.errors.InvalidLimit`.
    """
    check_names([name])
    row: TenantSetting = holding.limit(actor, "tenant", name=name, per=per, said=said)
    return row


def check_names(names: Sequence[str]) -> None:
    """Raises :class:`~taskyard.errors.UnknownTenant` for one that is unknown and has no job that waits or runs."""
    for name in names if find_tenancy() is not None else ():
        try:
            with tenant_context(name):
                continue
        except UnknownTenant:
            if not Job.objects.for_tenant(name).active().exists():
                raise
        except TaskyardError:
            # Known, and not to be entered now.
            continue
