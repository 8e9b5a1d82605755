"""Laid beside the suite of tenant-schemas-celery: what our schedulers do there that theirs do not."""

from typing import Any

import pytest
from celery.beat import ScheduleEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import ClockedSchedule, PeriodicTask
from tenant_schemas_celery.compat import tenant_context
from tenant_schemas_celery.db_scheduler import TenantAwareDatabaseScheduler
from tenant_schemas_celery.scheduler import TenantAwareScheduler
from tenant_schemas_celery.test_app import app

from taskyard.jobs.models import Job
from taskyard.schedules.models import Schedule

pytestmark = pytest.mark.usefixtures("transactional_db")


def due(name: str, **said: Any) -> PeriodicTask:
    long_ago = ClockedSchedule.objects.get_or_create(clocked_time="1990-01-01T00:00:00Z")[0]
    return PeriodicTask.objects.create(name=name, task="test_task", clocked=long_ago, one_off=True, **said)


@pytest.fixture
def tenants(client_factory: Any) -> list[Any]:
    return [client_factory.create_client(name, name, f"{name}.test.com") for name in ("north", "south")]


def test_equal_names_in_two_schemas_run_each_for_its_tenant(tenants: list[Any]) -> None:
    rows = []
    for tenant in tenants:
        with tenant_context(tenant):
            rows.append(due("same"))
    due("same", headers='{"_all_tenants_only": true}')
    scheduler = TenantAwareDatabaseScheduler(app=app)
    scheduler.tick()
    assert sorted(Job.objects.values_list("tenant", flat=True)) == ["north", "north", "south", "south"]
    assert sorted(Schedule.objects.filter(name="same").values_list("tenant", "name")) == [
        ("", "same"),
        ("north", "same"),
        ("south", "same"),
    ]
    for tenant, row in zip(tenants, rows, strict=True):
        with tenant_context(tenant):
            row.refresh_from_db()
            assert row.total_run_count == 1
    with pytest.raises(ValueError, match="duplicate periodic task name"):
        scheduler.schedule  # noqa: B018


def test_no_tenant_is_asked_while_nothing_changes(tenants: list[Any]) -> None:
    scheduler = TenantAwareDatabaseScheduler(app=app)
    scheduler.tick()
    with CaptureQueriesContext(connection) as asked:
        scheduler.tick()
    # Which schemas have the tables, and what all of their stamps are.
    assert len([query for query in asked if "django_celery_beat" in query["sql"]]) == 2


def test_an_entry_goes_to_all_tenants_and_one_without_a_schema_to_public(tenants: list[Any]) -> None:
    scheduler = TenantAwareScheduler(app)
    everybody = ScheduleEntry(
        name="all", task="test_task", schedule=60, options={"headers": {"_all_tenants_only": True}}, app=app
    )
    scheduler.apply_entry(everybody)
    assert sorted(Job.objects.values_list("tenant", flat=True)) == ["north", "south"]
    scheduler.apply_entry(ScheduleEntry(name="one", task="celery.backend_cleanup", schedule=60, app=app))
    assert Job.objects.get(task="celery.backend_cleanup").tenant == ""
