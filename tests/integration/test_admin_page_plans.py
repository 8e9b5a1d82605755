"""The lists of what is operated read through indexes, whatever is asked of them, and never look at all rows."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings

from taskyard.jobs.models import Job
from taskyard.jobs.pages import find, keyset
from taskyard.models import AuditEntry
from tests.integration import test_plans as plans
from tests.integration.shelf import statements

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.any_django("which index a statement takes is the server's doing"),
]

JOBS = "/admin/taskyard/job/"
AUDIT = "/admin/taskyard/auditentry/"
#: SQLite has one list for all.
TENANT = "taskyard_job_created" if connection.vendor == "sqlite" else "taskyard_job_tenant"
#: What is asked, and through which index; ``()`` where any of them is as good.
QUESTIONS: dict[str, tuple[str, str]] = {
    "all": ("", "taskyard_job_created"),
    "of a state that many are in": ("?state=succeeded", "taskyard_job_finished"),
    "of a state that few are in": ("?state=failed", "taskyard_job_finished"),
    "what waits": ("?state=pending", ""),
    "what runs": ("?state=running", ""),
    "of a task that nobody knows": ("?task=app.unknown", "taskyard_job_created"),
    "beginning of a task's name": ("?q=app.noth", "taskyard_job_created"),
    "of a queue": ("?queue=low", "taskyard_job_created"),
    "of a day": ("?age=day", "taskyard_job_created"),
    "of a tenant": ("?tenant=acme", TENANT),
    "of no tenant": ("?tenant=", "taskyard_job_created"),
    "of a tenant, failed": ("?tenant=acme&state=failed", TENANT),
    "about a row": ("?q=app.note:100", "taskyard_job_subject"),
}


@pytest.fixture(scope="module")
def filled(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Fifty thousand jobs for all tests here, which only look at them; filling the table takes longer than they do."""
    with django_db_blocker.unblock():
        call_command("flush", verbosity=0, interactive=False)
        plans.load()
        ids = list(Job.objects.visible_to(None).order_by("id").values_list("id", flat=True)[::100])
        Job.objects.filter(id__in=ids).update(tenant="acme")
        plans.analyze()
    yield
    with django_db_blocker.unblock():
        call_command("flush", verbosity=0, interactive=False)


@pytest.fixture(autouse=True)
def asking(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(User.objects.create_superuser("ada"))
    # Less than there is, as in a table of ten million rows.
    monkeypatch.setattr(keyset, "MOST_LOOKED", 500)


def asked_by(client: Client, page: str) -> tuple[Any, list[tuple[str, Any]]]:
    with statements() as seen:
        response = client.get(page)
    assert response.status_code == 200, page
    return response, [(sql, params) for sql, params in seen if "taskyard_job" in sql and "EXPLAIN" not in sql]


@pytest.mark.usefixtures("filled")
def test_each_question_about_jobs_is_answered_through_an_index(client: Client) -> None:
    wrong = {}
    for name, (asked, index) in QUESTIONS.items():
        response, seen = asked_by(client, JOBS + asked)
        following = response.context["cl"].next_at
        if following:
            seen += asked_by(client, JOBS + following)[1]
        assert seen, name
        assert all("LIMIT" in sql for sql, _ in seen), name
        found = {each for sql, params in seen for each in plans.indexes_of(sql, params)}
        if "(whole table)" in found or (index and index not in found):
            wrong[name] = sorted(found)
    assert not wrong, json.dumps(wrong, indent=1)


@pytest.mark.usefixtures("filled")
def test_people_of_a_tenant_ask_the_index_of_theirs(client: Client) -> None:
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: "acme"}):
        for asked in ("", "?state=failed", "?state=unended", "?task=app.nothing"):
            _, seen = asked_by(client, JOBS + asked)
            assert {each for sql, params in seen for each in plans.indexes_of(sql, params)} == {TENANT}


@pytest.mark.usefixtures("filled")
def test_the_api_asks_through_the_same_indexes(client: Client) -> None:
    wrong = {}
    for name, (asked, index) in QUESTIONS.items():
        if "q=" in asked or "age=" in asked:
            continue
        page, seen = asked_by(client, f"/taskyard/api/v1/jobs{asked}")
        if page.json()["next"] is not None:
            sign = "&" if asked else "?"
            seen += asked_by(client, f"/taskyard/api/v1/jobs{asked}{sign}cursor={page.json()['next']}")[1]
        assert seen and all("LIMIT" in sql for sql, _ in seen), name
        found = {each for sql, params in seen for each in plans.indexes_of(sql, params)}
        if "(whole table)" in found or (index and index not in found):
            wrong[name] = sorted(found)
    assert not wrong, json.dumps(wrong, indent=1)


@pytest.mark.usefixtures("filled")
def test_a_page_looks_at_no_more_rows_than_it_says(client: Client) -> None:
    way = find.find_page(find.JobFilter(task="app.unknown"), limit=50)
    assert (way.rows, way.is_cut) == ((), True)
    assert way.after is not None
    newer = Job.objects.visible_to(None).filter(created_at__gt=way.after[0]).count()
    assert newer <= keyset.MOST_LOOKED


@pytest.mark.usefixtures("filled")
def test_queues_are_shown_without_counting_a_backlog(client: Client) -> None:
    _, seen = asked_by(client, "/admin/taskyard/queuesetting/")
    found = {each for sql, params in seen for each in plans.indexes_of(sql, params)}
    assert "(whole table)" not in found, found


@pytest.mark.usefixtures("filled")
def test_tenants_are_found_and_counted_without_reading_a_backlog(client: Client) -> None:
    for asked in ("", "?only=work", "?only=paused", "?q=ac"):
        response, seen = asked_by(client, f"/admin/taskyard/tenantsetting/{asked}")
        found = {each for sql, params in seen for each in plans.indexes_of(sql, params)}
        assert "(whole table)" not in found, (asked, found)
        assert "LIMIT" in seen[-1][0]
    assert not response.context["cl"].is_short


@pytest.mark.django_db(transaction=True)
def test_the_audit_is_read_backwards_by_its_key(client: Client) -> None:
    at = dt.datetime.now(dt.UTC)
    rows = (AuditEntry(at=at, who="zoe", kind="job", verb="retry", target=f"t{n % 1000}") for n in range(5000))
    AuditEntry.objects.bulk_create(rows, batch_size=500)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE taskyard_auditentry" if connection.vendor == "mysql" else "ANALYZE")
    for asked in ("", "?verb=pause", "?who=max", "?kind=job&target=t7", "?q=t7"):
        with statements() as seen:
            assert client.get(AUDIT + asked).status_code == 200
        mine = [each for each in seen if "taskyard_auditentry" in each[0]]
        assert mine, asked
        if connection.vendor == "postgresql":
            for sql, params in mine:
                with connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN {sql}", params)
                    plan = "\n".join(row[0] for row in cursor.fetchall())
                assert "Seq Scan" not in plan, (asked, plan)
