"""A body runs as the tenant its job belongs to, or it does not run at all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from taskyard.celery.attempt import ending
from taskyard.celery.attempt.answer import Answer, ignored
from taskyard.celery.attempt.attempt import Attempt
from taskyard.celery.attempt.connections import reset_broken
from taskyard.celery.attempt.trouble import describe
from taskyard.celery.messages import SCHEMA, tenant_of_schema
from taskyard.celery.seam import option
from taskyard.errors import NoTenant, TenantNotReady, UnknownTenant
from taskyard.execution.outcome import Failed, Outcome, Snoozed
from taskyard.settings import get_settings
from taskyard.tenancy.context import find_tenancy, get_tenancy
from taskyard.tenancy.tenancy import USUAL, Entry

#: A job whose tenant could not be asked for, because a database is away, comes back after this long.
_AWAY_WAIT = dt.timedelta(seconds=5)


def as_owner(attempt: Attempt, task: Any, run: Callable[[], Answer]) -> Answer:
    """``run()`` within the tenant of the job; without calling it if that tenant cannot be entered."""
    tenancy = find_tenancy()
    if tenancy is None:
        return run()
    try:
        tenant, entry = _where(task, attempt.claim.tenant)
        previous = tenancy.become(tenant, entry)
    except Exception as error:
        attempt.verdict = _refused(error)
        if attempt.verdict is None:
            ending.failed(attempt, error)
        return ignored("its tenant cannot be entered")
    try:
        return run()
    finally:
        tenancy.restore(previous)


def run_as_said(task: Any, body: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run the body of a task without a row within the tenant that its message names (``SCHEMA_HEADER``).

    Nobody else enters that one. What cannot be entered fails the task; without such a message it is a plain call.
    """
    said, tenancy = task.request.get(SCHEMA), get_tenancy()
    if said is None or task.request.called_directly:
        return body(*args, **kwargs)
    previous = tenancy.become(*_where(task, tenant_of_schema(str(said))))
    try:
        return body(*args, **kwargs)
    finally:
        tenancy.restore(previous)


def _where(task: Any, owner: str) -> tuple[str, Entry]:
    scope = option(task, "tenant_scope", "any")
    if scope == "public":
        return "", USUAL
    if scope == "tenant" and not owner:
        raise NoTenant(f"Task {task.name!r}")
    if hasattr(task, "tenant_entry"):
        # Of taskyard.compat, whose options have other names.
        entry: Entry = task.tenant_entry()
        return owner, entry
    databases, cache = option(task, "tenant_databases", None), option(task, "tenant_cache", None)
    return owner, USUAL if databases is None and cache is None else Entry(databases, cache)


def _refused(error: Exception) -> Outcome | None:
    now = timezone.now()
    if isinstance(error, (UnknownTenant, NoTenant)):
        return Failed(describe(error, "unknown-tenant" if isinstance(error, UnknownTenant) else "no-tenant"))
    if isinstance(error, TenantNotReady):
        return Snoozed(now + get_settings().tenant_wait, waits_for=describe(error, "tenant-not-ready"))
    if isinstance(error, (OperationalError, InterfaceError)):
        reset_broken()
        return Snoozed(now + _AWAY_WAIT, waits_for=describe(error, "tenant-unknown-yet"))
    return None
