"""What an operator is told of jobs whose tenant cannot be entered, whatever kind of tenancy it is."""

import datetime as dt
import io
import json
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from taskyard.models import Job
from taskyard.monitoring.diagnosis import tenants
from taskyard.tenancy import tenant_context
from tests.tenancy.shop import tasks

pytestmark = pytest.mark.usefixtures("tenants")


@pytest.fixture
def waiting() -> Job:
    """A job that an executor put back, because its tenant is not ready."""
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
        return tasks.visit.using(tenant="limbo").enqueue()


def document(*words: str) -> Any:
    out = io.StringIO()
    call_command("taskyard", *words, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_a_job_of_a_tenant_that_is_not_ready_says_so(waiting: Job) -> None:
    says = document("jobs", "show", str(waiting.id))["waits_because"]
    assert says.startswith("its tenant 'limbo' is not ready (")
    assert "; looked at again at " in says


def test_its_jobs_are_counted_and_named(waiting: Job) -> None:
    with tenant_context("acme"):
        tasks.visit.using(run_after=dt.timedelta(seconds=10)).enqueue()
    [finding] = tenants.not_ready()
    assert (finding.name, finding.level, finding.facts["reason"]) == ("tenant limbo", "warn", "tenant-not-ready")
    assert "1 job waits until it can be entered" in finding.finding
    [one] = document("status")["tenants_not_entered"]
    assert (one["tenant"], one["waiting"]) == ("limbo", 1)
    out = io.StringIO()
    call_command("taskyard", "status", stdout=out)
    assert "Held back" in out.getvalue() and "is not ready" in out.getvalue()
