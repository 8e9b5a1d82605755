"""The tenant as tenant-schemas-celery writes it into messages: read always, written where the project asks for it."""

import json
from typing import Any
from uuid import UUID

import pytest
from celery import shared_task
from celery.app.trace import build_tracer
from django.conf import settings
from django.test import override_settings

from taskyard.celery import get_app, messages
from taskyard.jobs.rows.sql import TABLE, Sql
from taskyard.models import Job
from taskyard.outbox.outgoing import Outgoing
from taskyard.tenancy import current_tenant, tenant_context
from tests.tenancy import kinds
from tests.tenancy.shop import tasks

pytestmark = pytest.mark.usefixtures("tenants")


@shared_task(bind=True, name="tests.tenancy.seen")
def seen(self: Any) -> Any:
    return self.request.get("_schema_name")


def sent(**options: Any) -> Job:
    return Job.objects.get(id=get_app().send_task("tests.tenancy.shop.tasks.shared", **options).id)


def stored(job: Job) -> str:
    return json.dumps([job.kwargs, job.message])


def written(**changes: Any) -> Any:
    return override_settings(TASKYARD={**settings.TASKYARD, "SCHEMA_HEADER": True, **changes})


def test_what_the_header_says_wins_over_the_current_tenant() -> None:
    with tenant_context("globex"):
        assert sent(headers={"_schema_name": "acme"}).tenant == "acme"
        assert sent(headers={"_schema_name": "public"}).tenant == ""
        assert sent().tenant == "globex"


def test_the_header_is_in_the_row_as_its_tenant_and_the_mark_of_beat_nowhere() -> None:
    job = sent(headers={"_schema_name": "acme", "_all_tenants_only": True, "mine": "kept"})
    assert job.tenant == "acme"
    assert "mine" in stored(job)
    assert "_schema_name" not in stored(job)
    assert "_all_tenants_only" not in stored(job)


def test_the_argument_of_old_producers_is_taken_out_and_the_header_wins_over_it() -> None:
    job = sent(kwargs={"text": "old", "_schema_name": "acme"})
    assert (job.tenant, job.kwargs) == ("acme", {"text": "old"})
    assert sent(kwargs={"_schema_name": "acme"}, headers={"_schema_name": "globex"}).tenant == "globex"


def test_an_unknown_name_in_the_header_fails_the_job() -> None:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
        job = sent(headers={"_schema_name": "nobody"})
    assert (job.state, job.error["reason"]) == ("failed", "unknown-tenant")


def outgoing(tenant: str) -> Outgoing:
    with tenant_context(tenant):
        job_id = tasks.shared.delay().id
    sql = Sql("default")
    (row,) = sql.query(f"SELECT {messages.outgoing_columns} FROM {TABLE} WHERE id = %s", [sql.uuid(UUID(job_id))])
    return messages.outgoing_from_row(sql, row)


def test_nothing_is_written_unless_the_project_asks_for_it() -> None:
    assert "_schema_name" not in messages.thin_message(outgoing("acme"))[1]
    assert "_schema_name" not in messages.full_message(outgoing("acme"), "[]", "{}")[1]
    with written():
        for tenant, schema in (("acme", "acme"), ("", "public")):
            assert messages.thin_message(outgoing(tenant))[1]["_schema_name"] == schema
            assert messages.full_message(outgoing(tenant), "[]", "{}")[1]["_schema_name"] == schema


def test_a_message_of_several_jobs_names_no_schema() -> None:
    with written():
        several = [outgoing("acme"), outgoing("globex")]
        assert "_schema_name" not in messages.pack_message(several)[1]
        assert "_schema_name" not in messages.shared_message(several)[1]


def test_the_task_sees_it_in_its_request_where_it_is_written() -> None:
    with tenant_context("acme"):
        with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
            assert Job.objects.get(id=seen.delay().id).result is None
            with written():
                assert Job.objects.get(id=seen.delay().id).result == "acme"


def traced(schema: str) -> Any:
    """What a worker makes of a message without a row: the end's state and value."""
    task = get_app().tasks["shop.untracked_visit"]
    trace = build_tracer(task.name, task, app=get_app())
    value, info, _, _ = trace("some-id", [], {}, {"id": "some-id", "_schema_name": schema})
    return (info.state, type(info.retval).__name__) if info else value


def test_a_task_without_a_row_runs_as_its_message_says_or_not_at_all() -> None:
    assert traced("acme") == "acme"
    assert [visit["written_by"] for visit in kinds.visits("acme")] == ["acme"]
    with tenant_context("acme"):
        assert traced("globex") == "globex"
        assert traced("nobody") == ("FAILURE", "UnknownTenant")
        assert traced("limbo") == ("FAILURE", "TenantNotReady")
        assert current_tenant() == "acme"
    assert (len(kinds.visits("acme")), len(kinds.visits("globex"))) == (1, 1)
