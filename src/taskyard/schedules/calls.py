"""The task that Beat's rows run: it calls for a schedule, and is declared where Beat's tables are installed."""

from __future__ import annotations

import datetime as dt

from django.utils import timezone

from taskyard.schedules.targets.django_celery_beat import CALL
from taskyard.schedules.trigger import trigger
from taskyard.tasks.retry import RetryPolicy
from taskyard.tasks.task import task

_RETRY = RetryPolicy(max_retries=5, backoff=dt.timedelta(seconds=5), backoff_max=dt.timedelta(minutes=1))


@task(name=CALL, retry=_RETRY)
def call_schedule(name: str) -> dict[str, int]:
    """Decide what is due of a schedule of the code; how many due times were decided. May run twice."""
    return {"decided": len(trigger(name, now=timezone.now()))}
