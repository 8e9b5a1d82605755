"""A call for each tenant: offered here, where tenants are; done by the room that writes jobs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from taskyard.errors import NotReady

_served_by: Callable[..., Any] | None = None


def serve_with(handler: Callable[..., Any]) -> None:
    """Let :func:`enqueue_for_tenants` be answered by ``handler`` from now on: this room knows no jobs."""
    global _served_by
    _served_by = handler


def enqueue_for_tenants(
    task: Any,
    kwargs: Mapping[str, Any] | Callable[[str], Mapping[str, Any]] | None = None,
    *,
    tenants: str | Iterable[Any] = "ready",
    spread: dt.timedelta | None = None,
) -> Any:
    """Write one job of ``task`` for each tenant, all in one transaction (or in the caller's), in flat memory.

    Each job is its tenant's own, whoever calls and from whichever tenant. That a tenant exists is not asked here: the
    job of one that does not fails with that reason. A tenant named twice gets two jobs, unless the task is unique;
    unique keys are per tenant. With tenants' own databases the jobs are written to the control database directly, in a
    transaction of that.

    With ``spread`` each tenant has its place in a window of that length, which begins at the call (or at the call's
    ``run_after``): always the same place for the same task, whichever tenants come and go, from its first such call
    that committed. Tenants are numbered as they come, in rows that stay, and numbers are spread evenly: of 10,000
    tenants that came together, no second of the window starts more than the mean and three (up to 1,000 seconds, that
    is at most 1.2 times the mean). Where most of those once numbered are gone or left out, the others fill the window
    only as evenly as chance would.

    ``task`` is what ``@task`` returned, with the options of ``task.using(...)`` except ``tenant``; ``kwargs`` are the
    arguments of all calls, or a callable that returns those of one tenant, by its name; ``tenants`` are the ready ones,
    or any iterable of names or tenant objects. Returns an :class:`~taskyard.enqueue.EnqueueReport`: created,
    duplicates, and each rejected call with index, tenant and reason.

    Raises :class:`~taskyard.errors.InvalidTask` for a task that runs outside of all tenants, and
    :class:`~taskyard.errors.ConfigurationError` where nobody can tell which tenants are ready. An error of ``kwargs``
    or ``tenants`` itself undoes the whole.
    """
    if _served_by is None:
        raise NotReady("enqueue_for_tenants")
    return _served_by(task, kwargs, tenants=tenants, spread=spread)
