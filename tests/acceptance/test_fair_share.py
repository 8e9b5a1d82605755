"""Tenants share real workers: a flood is somebody else's non-event, weights are shares, limits work at once."""

import datetime as dt
import itertools
from statistics import mean, median
from typing import Any

import pytest
from django.utils import timezone

from taskyard import enqueue_many
from taskyard.models import Job, TenantSetting
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = dt.timedelta(seconds=1)


def flood(tenant: str, jobs: int, *seconds: float) -> None:
    """Jobs of a tenant that take so long, in turns."""
    calls = ({"seconds": seconds[number % len(seconds)]} for number in range(jobs))
    assert enqueue_many(tasks.rest.using(tenant=tenant), calls).created == jobs


def ran(**where: Any) -> list[tuple[dt.datetime, dt.datetime]]:
    """When jobs that succeeded began and ended."""
    found = Job.objects.filter(state="succeeded", started_at__isnull=False, **where)
    return list(found.values_list("started_at", "finished_at"))


def seconds_of(times: list[tuple[dt.datetime, dt.datetime]]) -> list[float]:
    return [(end - start).total_seconds() for start, end in times]


def wait_for_jobs(count: int, **where: Any) -> None:
    wait_until(lambda: len(ran(**where)) >= count, 60, f"{count} jobs ran")


@pytest.mark.parametrize("length", [0.01, 0.3])
def test_a_newcomers_job_starts_at_once_whatever_stands_before_it(project_on: Project, length: float) -> None:
    flood("a", 20_000, length)
    project_on.start_worker("-c", "2")
    wait_for_jobs(int(2 / length), tenant="a")
    waits = []
    for _ in range(5):
        job = wait_for_state(tasks.rest.using(tenant="b").enqueue(seconds=0.0).id, "succeeded")
        waits.append((job.started_at - job.created_at).total_seconds())
    assert Job.objects.filter(tenant="a", lane=1).exists()
    assert median(waits) <= 2 * mean(seconds_of(ran(tenant="a"))) + 0.5


def test_run_time_is_shared_by_weight_not_by_jobs(project: Project) -> None:
    weights = {"one": 1, "three": 3, "six": 6}
    for tenant, weight in weights.items():
        TenantSetting.objects.limit(tenant, weight=weight)
    flood("one", 3000, 0.01)
    flood("three", 3000, 0.02, 0.03, 0.04)
    flood("six", 3000, 0.02)
    project.start_worker("-c", "4")
    # Until what their jobs cost is known, they count as equal.
    wait_for_jobs(300)
    since = timezone.now()
    wait_until(lambda: timezone.now() - since > 8 * SECOND, 20, "it ran for a while")
    shares = {tenant: sum(seconds_of(ran(tenant=tenant, started_at__gt=since))) for tenant in weights}
    whole = sum(shares.values())
    for tenant, weight in weights.items():
        assert shares[tenant] / whole == pytest.approx(weight / 10, rel=0.15)


def test_a_pause_a_limit_and_a_resume_work_within_a_second(project: Project) -> None:
    flood("a", 5000, 0.02)
    flood("b", 5000, 0.02)
    project.start_worker("-c", "4")
    wait_for_jobs(100, tenant="b")

    paused_at = timezone.now()
    TenantSetting.objects.pause(["a"], paused_at)
    wait_until(lambda: len(ran(tenant="b", started_at__gt=paused_at + 2 * SECOND)) > 50, 30, "others go on")
    assert not ran(tenant="a", started_at__gt=paused_at + SECOND)
    assert not Job.objects.exclude(state__in=["succeeded", "pending", "queued", "running"]).exists()

    TenantSetting.objects.limit("a", max_running=1)
    resumed_at = timezone.now()
    TenantSetting.objects.resume(["a"])
    wait_for_jobs(10, tenant="a", started_at__gt=resumed_at)
    times = sorted(ran(tenant="a", started_at__gt=resumed_at))
    assert times[0][0] - resumed_at < SECOND
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))
