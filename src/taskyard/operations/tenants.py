"""Verbs about tenants. What one may have is said by operators of all of them, not by its own people."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q

from taskyard.errors import ConfigurationError, TaskyardError, TenantNotReady, UnknownTenant
from taskyard.failures.queries import count_by_tenant, count_some, tenants_with_failures
from taskyard.jobs import queries
from taskyard.jobs.models import Job
from taskyard.jobs.pages import tenants as pages
from taskyard.jobs.pages.keyset import MOST_LOOKED, Page
from taskyard.jobs.pages.tenants import TenantWork
from taskyard.jobs.queries import TenantOverview
from taskyard.operations.acting import holding
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.verbs import verb
from taskyard.outbox.models import TenantSetting
from taskyard.tenancy import tenant_context
from taskyard.tenancy.context import find_tenancy

_SECOND = dt.timedelta(seconds=1)
_LIMITED = ~Q(weight=1) | Q(max_running__isnull=False) | Q(rate__isnull=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TenantGlance:
    """One tenant as a page shows it. Counts stop, see :data:`taskyard.jobs.pages.tenants.MOST_COUNTED`."""

    name: str
    #: ``ready``, ``not ready`` or ``unknown``; empty: nobody can tell, as where the project has no tenancy.
    state: str
    #: Of one that is not ready.
    why_not: str
    work: TenantWork
    #: Jobs that stand failed.
    failed: int
    #: What operators said of it, if anything.
    setting: TenantSetting | None


@verb("tenant", "view_tenant", reads=True)
def list_(actor: Actor) -> list[TenantOverview]:
    """Tenants that have jobs waiting, running or failed; to one of a tenant, that one alone."""
    return queries.tenant_overview(count_by_tenant(actor.tenant), tenant=actor.tenant)


def page(actor: Actor, *, only: str = "", prefix: str = "", after: str = "", limit: int = 50) -> Page[TenantGlance]:
    """The next tenants by name behind ``after``, for pages that are to come up at once; to one of a tenant, that one.

    Those that the project lists (20,000 of them), that have work or failures, or of which something was said. ``only``:
    those that are ``paused`` or ``limited``, or have ``work``. Work of others than the project lists is looked for
    among so many names and jobs; if there may be more the page is cut.
    """
    actor.require("view_tenant")
    listed, is_cut = _listed()
    start = max(prefix, after)
    work = pages.find_work(actor.tenant, start=start)
    if actor.tenant is not None:
        names, is_cut = {actor.tenant} - {""}, False
    elif only in ("paused", "limited"):
        rows = TenantSetting.objects.paused() if only == "paused" else TenantSetting.objects.filter(_LIMITED)
        names, is_cut = set(_names(rows)), False
    elif only == "work":
        names, is_cut = work.names, work.is_cut
    else:
        failed = {*tenants_with_failures(), *(tenants_with_failures(start) if start else ())}
        names = {*(listed or ()), *work.names, *_names(TenantSetting.objects.all()), *failed}
        is_cut = is_cut or work.is_cut
    found = sorted(name for name in names if name.startswith(prefix) and name > after)
    shown = found[:limit]
    return Page(_glances(shown, listed, work), (shown[-1],) if len(found) > limit else None, is_cut=is_cut)


def _names(rows: Any) -> list[str]:
    return list(rows.order_by("pk").values_list("pk", flat=True)[:MOST_LOOKED])


def _listed() -> tuple[dict[str, str] | None, bool]:
    """Tenants as the project lists them, with the reason why one cannot be worked for; whether there are more."""
    tenancy = find_tenancy()
    if tenancy is None:
        return None, False
    try:
        found = dict(itertools.islice(tenancy.listed(), MOST_LOOKED))
    except ConfigurationError:
        # Nobody has said which there are.
        return None, False
    return found, len(found) == MOST_LOOKED


def _glances(names: Sequence[str], listed: Mapping[str, str] | None, work: pages.Work) -> tuple[TenantGlance, ...]:
    settings = TenantSetting.objects.in_bulk(names)
    works, failed = pages.work_of(names, work), count_some(names)
    rows = []
    for name in names:
        state, why_not = _state_of(name, listed)
        rows.append(
            TenantGlance(name=name, state=state, why_not=why_not, work=works[name], failed=failed[name],
                         setting=settings.get(name))
        )  # fmt: skip
    return tuple(rows)


def _state_of(name: str, listed: Mapping[str, str] | None) -> tuple[str, str]:
    if listed is None:
        return "", ""
    if name in listed:
        return ("not ready", listed[name]) if listed[name] else ("ready", "")
    try:
        with tenant_context(name):
            # Known and not listed: the project's listing and its look-up say different things.
            return "", ""
    except UnknownTenant:
        return "unknown", ""
    except TenantNotReady as error:
        return "not ready", error.reason
    except TaskyardError as error:
        return "", str(error)


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
