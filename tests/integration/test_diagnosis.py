"""What ``doctor`` finds in a database server, and why it says that jobs wait."""

import contextlib
import dataclasses
import datetime as dt
import functools
import io
import json
import uuid
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from taskyard.celery.worker.settler import PutBack, handle
from taskyard.jobs import queries
from taskyard.jobs.detail import find_job
from taskyard.models import Attempt, Job, Lease, QueueSetting, Saga, TenantSetting
from taskyard.monitoring.diagnosis import database, outboxes, tenants, work
from taskyard.monitoring.diagnosis.finding import Finding, Level
from taskyard.monitoring.diagnosis.sagas import sagas
from taskyard.monitoring.overview import overview
from taskyard.operations import Actor
from taskyard.operations.acting.held import held_back
from tests.integration.shelf import put, register

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
LONG = dt.timedelta(hours=1)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL leaves dead rows behind")
def test_a_table_of_jobs_that_nobody_vacuums_is_found() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW autovacuum")
        is_on = cursor.fetchone()[0] == "on"
        [finding] = database.vacuum()
        assert finding.level.value == ("ok" if is_on else "warn")

        cursor.execute("ALTER TABLE taskyard_job SET (autovacuum_enabled = false)")
        [finding] = database.vacuum()
    assert finding.level.value == "warn"
    assert "autovacuum is off" in finding.finding
    assert "VACUUM taskyard_job" in finding.fix


@pytest.mark.skipif(connection.vendor == "postgresql", reason="see the test for PostgreSQL")
def test_other_databases_are_not_asked_about_vacuum() -> None:
    assert list(database.vacuum()) == []


# what waits because somebody said so


def due(count: int, *, since: dt.timedelta = LONG, **values: Any) -> list[Job]:
    return [put(NOW, available_at=dt.datetime.now(dt.UTC) - since, **values) for _ in range(count)]


def attended(*queues: str, slots: int = 4) -> None:
    """Workers and feeders are there, so that nothing but an operator's word can hold jobs back."""
    now = dt.datetime.now(dt.UTC)
    register(now, *queues, slots=slots)
    for queue in queues:
        Lease.objects.create(name=f"feeder:{queue}", expires_at=now + LONG, owner=uuid.uuid4())


def said(check: Any = work.queues) -> dict[str, Finding]:
    return {finding.name: finding for finding in check()}


def test_jobs_of_a_paused_tenant_are_named_with_the_command_that_resumes_it() -> None:
    attended("celery")
    due(3, tenant="acme & sons")
    TenantSetting.objects.pause(["acme & sons", "idle"], NOW, by="ann", reason="runaway import")
    findings = said()
    assert set(findings) == {"tenant acme & sons"}
    [finding] = findings.values()
    assert finding.level == "warn"
    assert "by ann: runaway import; 3 due jobs wait, the oldest for 1 h" in finding.finding
    assert finding.fix == "When it may go on: taskyard tenants resume 'acme & sons'"
    assert (finding.facts["due"], finding.facts["paused_at"]) == (3, NOW)


def test_a_tenant_that_has_all_it_may_is_named_with_the_command_that_gives_it_more() -> None:
    attended("celery")
    put(NOW, tenant="acme", state="running")
    put(NOW, tenant="acme", state="queued")
    due(5, tenant="acme")
    due(1, tenant="globex", since=dt.timedelta(seconds=1))
    TenantSetting.objects.limit("acme", max_running=2)
    TenantSetting.objects.limit("globex", max_running=1)
    assert set(said()) == {"tenant acme"}
    finding = said()["tenant acme"]
    assert "has 2 of at most 2 jobs running or in the broker; 5 due jobs wait" in finding.finding
    assert finding.fix == "To allow more: taskyard tenants limit acme --max-running N (or none)"
    assert (finding.level, finding.facts["out"]) == ("warn", 2)


def test_a_tenant_at_its_rate_is_named_and_what_waits_for_a_moment_only_is_no_warning() -> None:
    attended("celery", "low")
    due(4, tenant="acme")
    due(1, tenant="globex", queue="low", since=dt.timedelta(seconds=1))
    for tenant in ("acme", "globex"):
        TenantSetting.objects.limit(tenant, rate=10, per=dt.timedelta(minutes=1))
    findings = said()
    assert {name: str(one.level) for name, one in findings.items()} == {"tenant acme": "warn", "tenant globex": "ok"}
    assert "is limited to 10 starts in 60 s; 4 due jobs wait" in findings["tenant acme"].finding
    assert "taskyard tenants limit acme --rate N --per 60" in findings["tenant acme"].fix


def test_a_limited_queue_is_not_taken_for_one_that_is_not_fed() -> None:
    attended("celery", "low", "none")
    for queue in ("celery", "low", "none"):
        due(2, queue=queue)
    put(NOW, queue="low", state="running")
    QueueSetting.objects.limit("low", max_running=1)
    QueueSetting.objects.limit("none", max_running=0)
    findings = said()
    assert "while slots are free" in findings["queue celery"].finding
    assert "has 1 of at most 1 jobs" in findings["queue low"].finding
    assert "taskyard queues limit low --max-running" in findings["queue low"].fix
    assert "limited to no jobs at a time; 2 due jobs wait" in findings["queue none"].finding
    assert {str(one.level) for one in findings.values()} == {"fail", "warn"}


def test_jobs_of_others_that_are_not_fed_are_found_beside_a_tenant_that_is_held_back() -> None:
    attended("celery")
    due(30, tenant="acme")
    due(2, tenant="globex", since=dt.timedelta(minutes=2))
    TenantSetting.objects.pause(["acme"], NOW)
    findings = said()
    assert findings["queue celery"].level == "fail"
    assert "2 jobs are due, the oldest for 2 min, while slots are free" in findings["queue celery"].finding
    assert "30 due jobs wait" in findings["tenant acme"].finding


def test_work_of_a_paused_tenant_alone_does_not_ask_for_a_worker_and_work_of_a_limited_one_does() -> None:
    due(2, tenant="acme")
    due(2, tenant="globex", queue="low")
    TenantSetting.objects.pause(["acme"], NOW)
    TenantSetting.objects.limit("globex", rate=1)
    findings = said()
    assert "queue celery" not in findings
    assert "2 jobs wait and no live worker consumes it" in findings["queue low"].finding


def test_of_many_tenants_the_ones_with_the_most_jobs_are_named() -> None:
    attended("celery")
    names = [f"t{number}" for number in range(8)]
    for number, name in enumerate(names):
        due(number + 1, tenant=name)
    TenantSetting.objects.pause(names, NOW)
    findings = said()
    named = [name for name in findings if name.startswith("tenant ")]
    assert named == [f"tenant t{number}" for number in range(7, 2, -1)]
    assert findings["more tenants"].facts == {"tenants": 3, "due": 6}


def test_without_limits_and_tenancy_nothing_is_asked_that_was_not_asked_before() -> None:
    attended("celery")
    due(2, tenant="acme")
    with CaptureQueriesContext(connection) as overview:
        queries.queue_overview(NOW)
    with CaptureQueriesContext(connection) as found:
        list(work.queues())
        list(tenants.not_ready())
        list(outboxes.known())
    # What is paused or limited, in one; and the feeder of the queue that waits.
    assert len(found) == len(overview) + 1 + 1
    with CaptureQueriesContext(connection) as shown:
        call_command("taskyard", "status", "--json", stdout=io.StringIO())
    # The overview, the workers and those that run, what ended, what is paused or limited, and two of sagas.
    assert len(shown) == len(overview) + 2 + 1 + 1 + 2


@override_settings(TASKYARD={"TENANCY": "rows", "TENANT_WAIT": dt.timedelta(seconds=30)})
def test_jobs_of_a_tenant_that_is_not_ready_are_counted_with_what_it_said() -> None:
    again = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
    told = {"type": "TenantNotReady", "message": "'limbo' is not ready: no schema.", "reason": "tenant-not-ready"}
    waiting = [put(NOW, tenant="limbo", due=False, available_at=again, error=told, attempt=1) for _ in range(3)]
    put(NOW, tenant="limbo", due=False, available_at=again)
    put(NOW, tenant="limbo", due=False, available_at=again + LONG, error=told)
    ran = put(NOW, tenant="limbo", due=False, available_at=again, error=told, attempt=2)
    Attempt.objects.create(job=ran, number=2, error_type="Snoozed", ended_at=NOW)
    [finding] = tenants.not_ready()
    assert (finding.name, finding.level) == ("tenant limbo", "warn")
    assert "3 jobs wait until it can be entered" in finding.finding
    assert "no schema" in finding.finding
    assert "taskyard jobs cancel --tenant limbo" in finding.fix
    assert finding.facts["waiting"] == 3
    Job.objects.filter(id__in=[job.id for job in waiting]).delete()
    assert [finding.level for finding in tenants.not_ready()] == ["ok"]


def test_sagas_that_need_attention_or_are_forgotten_are_named_by_status_and_doctor() -> None:
    now = timezone.now()
    about = {"name": "trip", "version": 1, "queue": "celery", "created_at": now - 2 * LONG}
    Saga.objects.create(**about, state="needs_attention", updated_at=now - LONG)
    Saga.objects.create(**about, state="running", updated_at=now, due_at=now)
    assert [finding.level for finding in sagas()] == [Level.WARN]
    Saga.objects.create(**about, tenant="acme", state="waiting", updated_at=now, due_at=now - LONG)
    late, stuck = sagas()
    assert late.finding == "nobody looked at 1 saga whose time has come, the longest for 1 h"
    assert stuck.finding == "1 saga needs attention, the longest for 1 h"
    out = io.StringIO()
    call_command("taskyard", "status", stdout=out)
    assert "1 needs_attention, the longest for 1 h: taskyard sagas list --state needs_attention" in out.getvalue()
    assert "1 that no keeper has looked at, the longest for 1 h: taskyard doctor" in out.getvalue()
    own = overview(dataclasses.replace(Actor.system(), tenant="acme"))
    assert (own.sagas_needing_attention.count, own.sagas_not_looked_at.count) == (0, 1)


@pytest.mark.django_db(transaction=True)
def test_what_is_held_back_is_in_the_documents_of_status_and_doctor() -> None:
    attended("celery")
    due(2, tenant="acme")
    TenantSetting.objects.pause(["acme"], NOW, reason="unpaid")
    out = io.StringIO()
    call_command("taskyard", "status", "--json", stdout=out)
    document = json.loads(out.getvalue())
    assert [(one["kind"], one["name"], one["due"], one["reason"]) for one in document["held_back"]] == [
        ("tenant", "acme", 2, "unpaid")
    ]
    assert (document["tenants_not_entered"], document["relay"]) == ([], None)
    out = io.StringIO()
    call_command("taskyard", "status", stdout=out)
    assert "tenant 'acme' is paused since" in out.getvalue()
    out = io.StringIO()
    # It fails or not by what else there is on this machine.
    with contextlib.suppress(CommandError):
        call_command("taskyard", "doctor", "--json", stdout=out)
    checks = {check["name"]: check for check in json.loads(out.getvalue())["checks"]}
    assert checks["tenant acme"]["facts"]["due"] == 2
    assert "relay" not in checks


# one job


def waits_because(job: Job, *, is_operator: bool = True) -> str:
    tenant = None if is_operator else job.tenant
    held = functools.partial(held_back, is_operator=is_operator)
    detail = find_job(job.id, dt.datetime.now(dt.UTC), held_back=held, tenant=tenant)
    assert detail is not None
    return detail.waits_because


def test_a_job_says_which_limit_it_waits_for_and_how_that_is_raised() -> None:
    attended("celery", "low")
    put(NOW, tenant="acme", state="running")
    [job] = due(1, tenant="acme")
    TenantSetting.objects.limit("acme", max_running=1)
    says = "tenant 'acme' has 1 of at most 1 jobs running or in the broker"
    assert waits_because(job) == f"{says}; to allow more: taskyard tenants limit acme --max-running N (or none)"
    assert waits_because(job, is_operator=False) == says
    TenantSetting.objects.limit("acme", max_running=2)
    assert "older or more urgent" in waits_because(job)
    TenantSetting.objects.limit("acme", rate=2)
    assert "limited to 2 starts in 1 s; to allow more: taskyard tenants limit acme --rate" in waits_because(job)


def test_a_tenant_is_not_told_how_much_of_a_queue_others_have_out() -> None:
    attended("celery")
    put(NOW, tenant="globex", state="running")
    [job] = due(1, tenant="acme")
    QueueSetting.objects.limit("celery", max_running=1)
    assert "queue 'celery' has 1 of at most 1 jobs" in waits_because(job)
    assert waits_because(job, is_operator=False) == "its turn in the queue has not come"


def test_where_no_worker_is_that_is_said_and_not_a_limit() -> None:
    [job] = due(1, tenant="acme")
    TenantSetting.objects.limit("acme", rate=2)
    assert "no live worker" in waits_because(job)
    TenantSetting.objects.limit("acme", rate=0)
    assert "limited to 0 starts" in waits_because(job)


def test_a_job_that_put_itself_back_is_not_said_to_wait_for_its_tenant() -> None:
    told = {"type": "TenantNotReady", "message": "not yet", "reason": "tenant-not-ready"}
    job = put(NOW, tenant="limbo", due=False, available_at=dt.datetime.now(dt.UTC) + LONG, error=told, attempt=1)
    assert "its tenant 'limbo' is not ready (not yet); looked at again at " in waits_because(job)
    Attempt.objects.create(job=job, number=1, error_type="Snoozed", ended_at=NOW)
    assert "its time has not come" in waits_because(job)


def test_a_job_that_no_worker_knows_is_not_said_to_wait_for_its_time() -> None:
    job = put(NOW, task="app.gone", state="queued", publishes=1, published_at=NOW)
    handle(PutBack(job.id, "app.gone"))
    job.refresh_from_db()
    assert "a worker that does not know task 'app.gone' gave it back; looked at again at " in waits_because(job)
