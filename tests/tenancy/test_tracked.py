"""Rows of a tenant's own that say themselves how far they are (``TrackedModel``); who ends their jobs is nobody."""

import uuid
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from taskyard.batches.teller import Teller
from taskyard.errors import NotInStep
from taskyard.execution import steering
from taskyard.models import Job
from taskyard.tenancy import current_tenant, tenant_context
from taskyard.testing import run_jobs
from tests.tenancy import kinds
from tests.tenancy.clients.models import Client
from tests.tenancy.shop import tasks
from tests.tenancy.shop.models import Report
from tests.workers import Project, wait_for_state

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tenants")]

if settings.KIND == "databases":

    def test_a_row_in_a_tenants_own_database_cannot_be_in_step() -> None:
        with tenant_context("acme"):
            row = Report.objects.create(name="sales")
            with pytest.raises(NotInStep):
                row.enqueue(tasks.report, row=row.pk)

else:

    def made(tenant: str) -> Report:
        with tenant_context(tenant):
            return Report.objects.create(name="sales")

    def enqueue(tenant: str, row: Report, **kwargs: Any) -> Job:
        with tenant_context(tenant):
            return row.enqueue(tasks.report, row=row.pk, **kwargs)

    def seen(tenant: str, row: Report) -> tuple[str, str]:
        with tenant_context(tenant):
            found = Report.objects.get(pk=row.pk)
        assert current_tenant() == ""
        return found.state, found.error

    def test_the_row_of_the_jobs_tenant_changes_and_no_other() -> None:
        rows = {tenant: made(tenant) for tenant in ("acme", "globex")}
        if settings.KIND == "schemas":
            assert rows["acme"].pk == rows["globex"].pk
        job, other = enqueue("acme", rows["acme"]), enqueue("globex", rows["globex"])
        steering.cancel([other.id], timezone.now(), message="not now")
        assert seen("acme", rows["acme"]) == ("pending", "")
        assert seen("globex", rows["globex"]) == ("cancelled", "Cancelled: not now")
        run_jobs()
        job.refresh_from_db()
        # It said so to its own body as well.
        assert (job.result, job.tenant) == ("processing", "acme")
        assert seen("acme", rows["acme"]) == ("completed", "")
        assert seen("globex", rows["globex"]) == ("cancelled", "Cancelled: not now")

    def test_it_follows_a_job_that_fails_is_brought_back_and_discarded_by_somebody_outside() -> None:
        row = made("acme")
        job = enqueue("acme", row, error="no sales")
        run_jobs(raise_errors=False)
        assert seen("acme", row) == ("failed", "ValueError: no sales")
        assert steering.retry([job.id], timezone.now()) == 1
        assert seen("acme", row)[0] == "pending"
        run_jobs(raise_errors=False)
        with tenant_context("globex"):
            assert steering.discard([job.id], timezone.now(), message="old") == 1
        assert seen("acme", row) == ("cancelled", "Cancelled: old (discarded)")

    def test_it_follows_a_batch_that_a_teller_counts_outside_of_all_tenants() -> None:
        row = made("acme")
        with tenant_context("acme"), row.open_batch("pages") as batch:
            batch.enqueue_many(tasks.report, [{"row": row.pk}, {"row": row.pk, "error": "torn"}])
        assert seen("acme", row)[0] == "processing"
        run_jobs(raise_errors=False)
        Teller().run_once(timezone.now())
        assert seen("acme", row)[0] == "completed"
        with tenant_context("acme"):
            row.refresh_from_db()
            reading = row.reading()
        assert (row.total, row.successful, row.failed) == (2, 1, 1)
        assert reading is not None
        assert (reading.tenant, reading.state) == ("acme", "completed")

    def test_an_eager_job_and_an_eager_batch_are_in_step() -> None:
        row, other = made("acme"), made("acme")
        with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
            enqueue("acme", row)
            with tenant_context("acme"), other.open_batch("pages") as batch:
                batch.enqueue(tasks.report, row=other.pk)
        assert [seen("acme", one)[0] for one in (row, other)] == ["completed", "completed"]

    @pytest.mark.skipif(settings.KIND != "schemas", reason="rows of a tenant that is gone stay where they are")
    def test_jobs_and_batches_of_a_tenant_that_is_gone_with_its_rows_end_all_the_same() -> None:
        with kinds.made("hooli"):
            first, second, third = (made("hooli") for _ in range(3))
            failing, cancelled = enqueue("hooli", first), enqueue("hooli", second)
            with tenant_context("hooli"), third.open_batch("pages") as batch:
                batch.enqueue(tasks.visit)
            kinds.delete("hooli")
            steering.cancel([cancelled.id], timezone.now())
            run_jobs(raise_errors=False)
        states = dict(Job.objects.values_list("id", "state"))
        assert (states[failing.id], states[cancelled.id]) == ("failed", "cancelled")
        batch.refresh_from_db()
        assert (batch.state, batch.failed) == ("completed", 1)

    @pytest.mark.skipif(settings.KIND != "schemas", reason="there are no rows to be found while it is not ready")
    def test_a_row_of_a_tenant_that_is_not_ready_is_written_when_its_job_goes_on() -> None:
        with kinds.made("hooli"):
            row = made("hooli")
            job = enqueue("hooli", row)
            hooli = Client.objects.get(name="hooli")
            hooli.is_ready = False
            hooli.save()
            run_jobs()
            assert Job.objects.get(id=job.id).error["reason"] == "tenant-not-ready"
            hooli.is_ready = True
            hooli.save()
            run_jobs(delayed=True)
            assert seen("hooli", row) == ("completed", "")

    def test_a_worker_keeps_rows_of_several_tenants_in_step(project: Project) -> None:
        rows = [(tenant, made(tenant)) for tenant in ("acme", "globex", "acme")]
        project.start_worker()
        jobs: list[uuid.UUID] = [enqueue(tenant, row).id for tenant, row in rows]
        for job in jobs:
            assert wait_for_state(job, "succeeded").result == "processing"
        assert [seen(tenant, row)[0] for tenant, row in rows] == ["completed"] * 3
