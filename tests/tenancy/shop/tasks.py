"""Tasks that leave a trace of whom they ran for."""

import random
import threading
import uuid
from datetime import timedelta
from typing import Any

import celery
from celery import shared_task
from django.utils import timezone

from taskyard import RetryPolicy, current_job, task
from taskyard.execution import steering
from taskyard.tenancy import current_tenant, tenant_context
from tests.tenancy.shop.models import Report, Visit


def leave(text: str = "") -> None:
    job = current_job()
    Visit.objects.create(written_by=current_tenant(), job=str(job.id), text=text)


@task
def visit(text: str = "") -> str:
    leave(text)
    return current_tenant()


@task
def report(row: int, error: str = "") -> str:
    """Returns what the row says of itself while this runs."""
    if error:
        raise ValueError(error)
    state: str = Report.objects.get(pk=row).state
    return state


@task(tenant_scope="tenant")
def owned() -> str:
    return current_tenant()


@task(tenant_scope="public")
def public() -> str:
    return current_tenant()


@task(tracked=False)
def untracked() -> None:
    """No row says whose it is."""


@task(tracked=False)
def untracked_visit() -> str:
    """Whose it is stands in its message alone."""
    Visit.objects.create(written_by=current_tenant())
    return current_tenant()


@task(tracked=False, tenant_scope="public")
def untracked_public() -> None:
    """Nobody's in any case."""


@task(tenant_from="org")
def for_org(org: str) -> str:
    return current_tenant()


@task(unique="key")
def unique(key: str) -> str:
    return current_tenant()


@shared_task
def shared(text: str = "") -> str:
    leave(text)
    return current_tenant()


class Base(celery.Task):
    """A base class of the project's own, not made for tenants."""

    abstract = True


@shared_task(base=Base)
def with_base(text: str = "") -> str:
    leave(text)
    return current_tenant()


@shared_task(bind=True, max_retries=3)
def retried(self: Any, times: int) -> str:
    leave(f"try {self.request.retries}")
    if self.request.retries < times:
        raise self.retry(countdown=0)
    return current_tenant()


@task(retry=RetryPolicy(on=(ValueError,), max_retries=2, backoff=timedelta(0)))
def failing() -> None:
    leave("failing")
    raise ValueError(current_tenant())


@task
async def asynchronous() -> str:
    return current_tenant()


@shared_task
def collect(results: list[str]) -> list[str]:
    leave("collect")
    return [current_tenant(), *results]


@task
def nested(other: str) -> str:
    """Works for another tenant in the middle, and enqueues there."""
    leave("before")
    with tenant_context(other):
        leave(f"within for {other}")
        visit.enqueue(text="enqueued within")
    leave("after")
    return current_tenant()


@task
def stray() -> str:
    """Changes the tenant and never goes back, as careless code does."""
    tenant_context("globex").__enter__()
    return current_tenant()


@task(time_limit=timedelta(seconds=1))
def endless(other: str) -> None:
    """Is killed in the middle of another tenant."""
    leave("endless")
    with tenant_context(other):
        while True:
            threading.Event().wait(0.05)


@task(retry=RetryPolicy(on=(ValueError,), max_retries=5, backoff=timedelta(milliseconds=10)))
def rough(chance: float, other: str) -> str:
    """Leaves its trace, and now and then fails before or after it, or works for another tenant meanwhile."""
    dice = random.random()
    if dice < chance:
        raise ValueError("before")
    leave("rough")
    if dice < chance * 2:
        with tenant_context(other):
            leave("meanwhile")
            raise ValueError("within another tenant")
    if dice < chance * 3:
        raise ValueError("after")
    return current_tenant()


@task(unique="key", on_duplicate="raise")
def unique_loudly(key: str) -> str:
    return current_tenant()


@task
def cancels(jobs: list[str]) -> int:
    """An operator's job that happens to be a tenant's."""
    return steering.cancel([uuid.UUID(job) for job in jobs], timezone.now())
