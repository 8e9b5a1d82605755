"""A job runs as the tenant that enqueued it, or it does not run at all; eagerly, through the real executor."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import chain, chord, group
from django.test import override_settings
from django.utils import timezone

from taskyard import enqueue_many
from taskyard.errors import NoTenant, TaskyardError, TenantMismatch
from taskyard.execution import steering
from taskyard.models import Job
from taskyard.tenancy import current_tenant, set_tenant, tenant_context
from tests.tenancy import kinds
from tests.tenancy.shop import tasks

pytestmark = [pytest.mark.usefixtures("tenants", "eager")]


@pytest.fixture
def eager() -> Any:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
        yield


def result(job: Job) -> Any:
    job = Job.objects.get(id=job.id)
    assert job.state == "succeeded", job.error
    return job.result


def of(name: str) -> list[str]:
    return [visit["written_by"] for visit in kinds.visits(name)]


@pytest.mark.parametrize("task", [tasks.visit, tasks.shared, tasks.with_base], ids=lambda task: task.name)
def test_a_job_of_any_kind_of_task_runs_as_the_tenant_that_enqueued_it(task: Any) -> None:
    for name in ("acme", "globex", "acme"):
        with tenant_context(name):
            job_id = task.delay().id
        job = Job.objects.get(id=job_id)
        assert (job.tenant, job.state, job.result) == (name, "succeeded", name), job.error
        assert current_tenant() == ""
    assert (of("acme"), of("globex")) == (["acme", "acme"], ["globex"])


def test_a_call_may_name_its_tenant() -> None:
    with tenant_context("globex"):
        assert result(tasks.visit.using(tenant="acme").enqueue()) == "acme"
        assert current_tenant() == "globex"
    assert (of("acme"), of("globex")) == (["acme"], [])


def test_a_job_outside_of_all_tenants_runs_outside_of_all_tenants() -> None:
    with tenant_context("acme"):
        job = tasks.asynchronous.using(tenant="").enqueue()
    assert result(job) == ""
    assert Job.objects.get(id=job.id).tenant == ""


@pytest.mark.parametrize("tenant", ["nobody", "deleted"])
def test_a_job_of_an_unknown_tenant_fails_with_that_reason_and_never_runs(tenant: str) -> None:
    with tenant_context("acme"):
        job = tasks.visit.using(tenant=tenant).enqueue()
    job = Job.objects.get(id=job.id)
    assert (job.state, job.error["reason"]) == ("failed", "unknown-tenant")
    assert tenant in job.error["message"]
    assert of("acme") == []


def test_a_job_of_a_tenant_that_is_not_ready_waits_without_spending_an_attempt() -> None:
    job = tasks.visit.using(tenant="limbo").enqueue()
    job = Job.objects.get(id=job.id)
    assert job.state in ("pending", "retrying")
    assert job.available_at > timezone.now() + timedelta(seconds=20)
    assert (job.error["reason"], job.attempts.count()) == ("tenant-not-ready", 0)
    assert job.max_attempts - job.attempt == 1


def test_retries_and_failures_stay_with_the_tenant() -> None:
    with tenant_context("acme"):
        retried = tasks.retried.delay(2)
        failing = tasks.failing.enqueue()
    assert Job.objects.get(id=retried.id).result == "acme"
    failed = Job.objects.get(id=failing.id)
    assert (failed.state, failed.error["message"]) == ("failed", "acme")
    assert of("acme") == ["acme"] * 6
    assert current_tenant() == ""


def test_canvases_stay_with_the_tenant() -> None:
    with tenant_context("acme"):
        chain(tasks.shared.si("one"), tasks.with_base.si("two")).delay()
        chord([tasks.shared.si(), tasks.with_base.si()], tasks.collect.s()).delay()
        group(tasks.shared.si(), tasks.shared.si()).delay()
        tasks.shared.apply_async(link=tasks.with_base.si("linked"))
    assert set(Job.objects.values_list("tenant", "state")) == {("acme", "succeeded")}
    assert of("acme") == ["acme"] * Job.objects.count()
    assert Job.objects.get(task__endswith="collect").result == ["acme", "acme", "acme"]


def test_a_job_that_works_for_another_tenant_meanwhile_comes_back() -> None:
    with tenant_context("acme"):
        job = tasks.nested.enqueue(other="globex")
    assert result(job) == "acme"
    inner = Job.objects.get(task="shop.visit")
    assert (inner.tenant, inner.result) == ("globex", "globex")
    assert (of("acme"), of("globex")) == (["acme", "acme"], ["globex", "globex"])


def test_a_job_that_leaves_another_tenant_behind_does_not_hand_it_on() -> None:
    with tenant_context("acme"):
        tasks.stray.enqueue()
        assert current_tenant() == "acme"
    assert current_tenant() == ""


def test_a_task_that_needs_a_tenant_refuses_to_be_enqueued_without_one() -> None:
    with pytest.raises(NoTenant):
        tasks.owned.enqueue()
    with pytest.raises(NoTenant):
        enqueue_many(tasks.owned, [{}])
    with tenant_context("acme"):
        assert result(tasks.owned.enqueue()) == "acme"
    assert Job.objects.count() == 1


def test_a_public_task_runs_outside_of_all_tenants_and_belongs_to_whoever_enqueued_it() -> None:
    with tenant_context("acme"):
        job = tasks.public.enqueue()
        assert current_tenant() == "acme"
    assert result(job) == ""
    assert Job.objects.get(id=job.id).tenant == "acme"


def test_what_follows_from_a_public_job_belongs_to_whoever_enqueued_that() -> None:
    with tenant_context("acme"):
        chain(tasks.public.s(), tasks.with_base.si()).delay()
    assert (of("acme"), of("")) == (["acme"], []) if kinds.settings.KIND == "rows" else of("acme") == ["acme"]


def test_an_argument_that_names_the_tenant_is_held_to_the_current_one() -> None:
    job = tasks.for_org.enqueue(org="acme")
    assert (result(job), Job.objects.get(id=job.id).tenant) == ("acme", "acme")
    with tenant_context("globex"):
        with pytest.raises(TenantMismatch, match=r"'acme'.*'globex'"):
            tasks.for_org.enqueue(org="acme")
        with pytest.raises(TenantMismatch):
            tasks.for_org.delay(org="acme")
        report = enqueue_many(tasks.for_org, [{"org": "globex"}, {"org": "acme"}])
    assert (report.created, [one.index for one in report.rejected]) == (1, [1])


def test_unique_keys_are_per_tenant() -> None:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=False):
        for name in ("acme", "globex"):
            with tenant_context(name):
                assert tasks.unique.enqueue(key="nightly").created
                assert not tasks.unique.enqueue(key="nightly").created


def test_a_set_tenant_is_what_a_job_inherits() -> None:
    set_tenant("acme")
    job = tasks.visit.enqueue()
    set_tenant("")
    assert Job.objects.get(id=job.id).tenant == "acme"


def test_a_message_without_a_row_is_not_sent_by_a_tenant() -> None:
    with tenant_context("acme"):
        with pytest.raises(TaskyardError, match="not tracked: it would run outside of tenant 'acme'"):
            tasks.untracked.delay()
        tasks.untracked_public.delay()
    tasks.untracked.delay()
    assert not Job.objects.exists()


def test_the_steps_of_a_chain_that_will_not_run_are_failed_before_the_eyes_of_their_tenant() -> None:
    with tenant_context("acme"):
        result = chain(tasks.retried.si(9), tasks.shared.si("never"), tasks.shared.si("never")).delay()
        assert (result.state, result.parent.state) == ("FAILURE", "FAILURE")
    assert set(Job.objects.values_list("tenant", "state")) == {("acme", "failed")}


@pytest.mark.parametrize("operator", ["", "globex"])
def test_what_follows_from_a_job_that_an_operator_cancels_belongs_to_that_jobs_tenant(operator: str) -> None:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=False):
        with tenant_context("acme"):
            body = tasks.collect.s().on_error(tasks.with_base.si("errback"))
            result = chord([tasks.shared.si(), tasks.shared.si()], body).delay()
        with tenant_context(operator):
            steering.cancel([UUID(member.id) for member in result.parent.results], timezone.now())
    assert Job.objects.filter(task__endswith="with_base").exists()
    assert set(Job.objects.values_list("tenant", flat=True)) == {"acme"}


def test_what_follows_from_a_job_that_another_tenants_job_cancels_belongs_to_the_cancelled_ones_tenant() -> None:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=False), tenant_context("acme"):
        body = tasks.collect.s().on_error(tasks.with_base.si("errback"))
        result = chord([tasks.shared.si(), tasks.shared.si()], body).delay()
    with tenant_context("globex"):
        ended = tasks.cancels.enqueue(jobs=[member.id for member in result.parent.results])
    assert Job.objects.get(id=ended.id).state == "succeeded"
    assert set(Job.objects.exclude(id=ended.id).values_list("tenant", flat=True)) == {"acme"}
    assert Job.objects.get(task__endswith="collect").state == "failed"


def test_an_id_that_another_tenants_job_has_is_refused_instead_of_doing_nothing() -> None:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=False):
        with tenant_context("acme"):
            for _ in range(2):
                tasks.shared.apply_async(task_id="nightly")
        with tenant_context("globex"), pytest.raises(TaskyardError, match=r"'nightly'.*'globex'.*tenant_key"):
            tasks.shared.apply_async(task_id="nightly")
    assert list(Job.objects.values_list("tenant", "task_id")) == [("acme", "nightly")]
