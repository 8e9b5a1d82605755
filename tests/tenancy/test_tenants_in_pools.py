"""Real workers, whose slots go from one tenant's job to another's."""

import pytest

from taskyard import enqueue_many
from taskyard.models import Job
from taskyard.tenancy import tenant_context
from tests.servers import wait_until
from tests.tenancy import kinds
from tests.tenancy.shop import tasks
from tests.workers import Project

TENANTS = ("acme", "globex")
EACH = 60


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_job_leaves_its_trace_with_another_tenant(pool: str, project: Project, tenants: None) -> None:
    for name, other in zip(TENANTS, reversed(TENANTS), strict=True):
        with tenant_context(name):
            enqueue_many(tasks.rough, [{"chance": 0.1, "other": other}] * EACH)
            tasks.stray.enqueue()
            tasks.asynchronous.enqueue()
    project.start_worker("-P", pool, "-c", "4", DJANGO_SETTINGS_MODULE="tests.tenancy.settings")

    total = len(TENANTS) * (EACH + 2)
    ended = Job.objects.filter(state__in=["succeeded", "failed"])
    wait_until(lambda: ended.count() == total, 60, "all jobs have ended")

    for name in TENANTS:
        visits = kinds.visits(name)
        assert {visit["written_by"] for visit in visits} == {name}
        own = {visit["job"] for visit in visits if visit["text"] == "rough"}
        assert set(Job.objects.filter(id__in=own).values_list("tenant", flat=True)) == {name}
        succeeded = Job.objects.filter(task="shop.rough", tenant=name, state="succeeded")
        assert {str(job.id) for job in succeeded} <= own
        assert {job.result for job in succeeded} == {name}
        assert Job.objects.get(task="shop.asynchronous", tenant=name).result == name
