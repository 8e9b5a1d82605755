"""A line of a crontab file that runs for each tenant."""

import datetime as dt
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings

from taskyard.models import Job, Schedule
from taskyard.schedules.scheduler import Scheduler

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)


@pytest.mark.usefixtures("tenants")
def test_each_tenant_that_is_ready_has_a_job_and_a_log_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "crontab").write_text("0 3 * * * --name=greet --for-each-tenant echo hello $TASKYARD_TENANT\n")
    configured = {**settings.TASKYARD, "CRONTABS": [tmp_path / "crontab"], "CRONTAB_LOGS": tmp_path}
    with override_settings(TASKYARD=configured, CELERY_TASK_ALWAYS_EAGER=True):
        Scheduler().run_once(NOW)
        assert Schedule.objects.get().run_now().jobs == 2
    jobs = {job.tenant: job.result for job in Job.objects.all()}
    assert {name: result["output"] for name, result in jobs.items()} == {
        "acme": "hello acme\n",
        "globex": "hello globex\n",
    }
    assert (tmp_path / "crontab.greet.acme.log").read_text() == "hello acme\n"
