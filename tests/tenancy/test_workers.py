"""Real workers that serve many tenants at once: whatever happens to a job, nothing of it lands with another tenant."""

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard.models import Job
from taskyard.tenancy import tenant_context
from tests import workers
from tests.servers import wait_until
from tests.tenancy import kinds
from tests.tenancy.shop import tasks
from tests.workers import Project, wait_until_idle

#: ``make verify`` asks for 20,000 over 50.
JOBS = int(os.environ.get("TASKYARD_TEST_TENANT_JOBS", "300"))
TENANTS = [f"tenant{number:02}" for number in range(50 if JOBS >= 5000 else 10)]
SHORT = {"WORKER_TIMEOUT": {"seconds": 4}, "HEARTBEAT": {"seconds": 0.5}, "REPUBLISH_AFTER": {"seconds": 1}}
#: What a job may leave in a tenant's table though it is another tenant's.
MEANWHILE = ("meanwhile", "within for ")


@pytest.fixture
def project(tmp_path: Path, template: None, allowed: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    with workers.project(tmp_path) as made, kinds.made(*TENANTS, limbo=False):
        made.settings = "tests.tenancy.settings"
        made.taskyard = dict(SHORT)
        monkeypatch.setenv("TASKYARD_TEST_HISTORY", str(made.history_file))
        yield made
        made.close()


def strays() -> list[str]:
    """Rows that stand with a tenant and were not written for it."""
    owners = {str(job): tenant for job, tenant in Job.objects.values_list("id", "tenant")}
    found = []
    for name in TENANTS:
        for visit in kinds.visits(name):
            owner = owners.get(visit["job"])
            is_own = owner == name or visit["text"].startswith(MEANWHILE)
            if visit["written_by"] != name or not is_own:
                found.append(f"{visit['written_by']} wrote {visit['text']!r} of {owner} into {name}")
    return found


def enqueue_everything(*, with_limits: bool) -> None:
    chance = random.Random(4)
    for number in range(JOBS):
        name, other = chance.choice(TENANTS), chance.choice(TENANTS)
        with tenant_context(name):
            kind = chance.random()
            if kind < 0.75:
                tasks.rough.enqueue(chance=0.1, other=other)
            elif kind < 0.85:
                tasks.nested.enqueue(other=other)
            elif kind < 0.95 or not with_limits:
                tasks.retried.delay(number % 3)
            elif number % 20 == 0:
                tasks.endless.enqueue(other=other)


@pytest.mark.timeout(1800 if JOBS >= 5000 else 240)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_whatever_happens_to_jobs_of_many_tenants_nothing_strays(project: Project, pool: str) -> None:
    enqueue_everything(with_limits=pool == "prefork")
    doomed = project.start_worker("-P", pool, "-c", "2")
    project.start_worker("-P", pool, "-c", "2")
    tenth = JOBS // 10
    wait_until(lambda: Job.objects.filter(state="succeeded").count() > tenth, max(120, tenth // 3), "some have ended")
    os.killpg(doomed.pid, signal.SIGKILL)
    project.start_worker("-P", pool, "-c", "2")
    wait_until_idle(1500 if JOBS >= 5000 else 180)

    states = Counter(Job.objects.values_list("task", "state"))
    assert not any(state == "cancelled" for _, state in states), states
    failed = Counter((job.task, job.error["type"], job.error["message"][:80]) for job in Job.objects.failed())
    assert {task for task, *_ in failed} <= {"shop.endless", "shop.rough"}, failed
    left = Counter(visit["job"] for name in TENANTS for visit in kinds.visits(name) if visit["written_by"] == name)
    silent = [
        str(job) for job in Job.objects.filter(state="succeeded").values_list("id", flat=True) if not left[str(job)]
    ]
    assert silent == []
    assert strays() == []


def test_the_jobs_of_a_tenant_that_is_deleted_fail_with_that_reason_and_nobody_elses(project: Project) -> None:
    for name in TENANTS[:3]:
        with tenant_context(name):
            for _ in range(5):
                tasks.visit.enqueue()
    kinds.delete(TENANTS[0])
    project.start_worker("-c", "2")
    wait_until_idle(60)

    for job in Job.objects.filter(tenant=TENANTS[0]):
        assert (job.state, job.error["reason"], job.attempt) == ("failed", "unknown-tenant", 1)
    assert set(Job.objects.exclude(tenant=TENANTS[0]).values_list("state", flat=True)) == {"succeeded"}
    assert [len(kinds.visits(name)) for name in TENANTS[1:4]] == [5, 5, 0]


def test_a_job_waits_for_its_tenant_to_be_ready(project: Project) -> None:
    project.taskyard |= {"TENANT_WAIT": {"seconds": 0.5}}
    job = tasks.visit.using(tenant="limbo").enqueue()
    project.start_worker("-c", "1")
    wait_until(lambda: Job.objects.get(id=job.id).error is not None, 30, "it was put back")
    kinds.set_ready("limbo")
    wait_until(lambda: Job.objects.get(id=job.id).state == "succeeded", 30, "it ran")
    assert (Job.objects.get(id=job.id).result, len(kinds.visits("limbo"))) == ("limbo", 1)
