"""S6, S7: a service that reports through a callback, and periodic tasks."""

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from documents import tasks
from documents.models import Document, Source
from documents.syncing import sync

from taskyard.models import Job, Schedule

pytestmark = pytest.mark.django_db


def test_the_service_reports_created_updated_skipped_processed_and_total(feed: Any) -> None:
    source = feed.source("live", {"a": "Apples.", "b": "Pears.", "c": "Plums."})
    said: list[dict[str, int]] = []
    assert sync(source, on_progress=lambda **counts: said.append(counts))["created"] == 3
    assert said[0] == {"created": 1, "updated": 0, "skipped": 0, "processed": 1, "total": 3}
    feed["/live/"] = {"a": "Apples.", "b": "Pears, again.", "d": "Grapes."}
    assert sync(source) == {"created": 1, "updated": 1, "skipped": 1, "processed": 3, "total": 3}
    assert Document.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_whoever_looks_while_it_runs_sees_how_far_it_is(feed: Any, client: Client, taskyard_worker: Any) -> None:
    client.force_login(User.objects.create_superuser("ada"))
    source, shown = feed.source("live", {str(number): f"Number {number}." for number in range(30)}), []

    def look(path: str) -> None:
        # Between two pages, from another thread: what the page of sources asks for.
        shown.append(Client().get("/taskyard/progress/", {"job": Job.objects.get().id}).status_code)
        connections.close_all()

    feed.before = look
    client.post(f"/sources/{source.pk}/sync/")
    job = taskyard_worker.wait_for(Source.objects.get().job)
    told = client.get("/taskyard/progress/", {"job": str(job.id)}).json()["jobs"][0]
    assert told["says"] == "30 of 30 (100 %), 30 created"
    # To a stranger the job does not exist.
    assert shown == [404]
    source.refresh_from_db()
    assert (source.state, source.total, source.processed) == ("completed", 30, 30)


def test_sync_all_skips_sources_whose_job_is_still_active(feed: Any, taskyard_jobs: Any) -> None:
    busy, idle = feed.source("busy", {"a": "Apples."}), feed.source("idle", {"b": "Pears."})
    first = busy.enqueue(tasks.sync_source, source_id=busy.pk)
    assert tasks.sync_all_sources() == {"success": True, "started": ["idle"], "skipped": ["busy"]}
    taskyard_jobs.assert_enqueued(tasks.sync_source, {"source_id": idle.pk}, count=1)
    assert Job.objects.for_subject(busy).get().id == first.id
    taskyard_jobs.run_jobs()
    assert set(Source.objects.values_list("state", flat=True)) == {"completed"}


def test_validate_all_accumulates_and_goes_on_after_a_dead_endpoint_among_live_ones(
    feed: Any, taskyard_jobs: Any
) -> None:
    feed.source("first", {"a": "Apples."}), feed.dead("dead"), feed.source("odd", 404), feed.source("last", {})
    job = tasks.validate_all_sources.enqueue()
    taskyard_jobs.run_jobs()
    done = taskyard_jobs.assert_state(job, "succeeded")
    assert (done.result["processed"], done.result["successful"], done.result["failed"]) == (4, 2, 2)
    results = done.result["results"]
    assert (results["first"], results["odd"], results["last"]) == ("1 documents", "it answers with 404", "0 documents")
    assert "does not answer" in results["dead"]
    assert [one["item"] for one in done.counts["errors"]] == ["dead", "odd"]
    assert Source.objects.exclude(check_error="").count() == 2


def test_a_periodic_task_is_made_in_the_admin_and_its_runs_are_the_system_users(
    ada: Any, client: Client, feed: Any, taskyard_clock: Any
) -> None:
    for name, task in (("sync", "documents.sync_all_sources"), ("validate", "documents.validate_all_sources")):
        sent = {**FORM, "name": name, "task": task}
        answer = client.post("/admin/taskyard/schedule/add/", sent)
        assert answer.status_code == 302, answer.context["adminform"].form.errors
    feed.source("live", {"a": "Apples."})
    assert Schedule.objects.get(name="sync").created_by == str(ada.pk)
    taskyard_clock.travel(dt.timedelta(minutes=16))
    ran = Job.objects.filter(task__in=["documents.sync_all_sources", "documents.validate_all_sources"])
    assert {(job.task, job.state, job.created_by) for job in ran} == {
        ("documents.sync_all_sources", "succeeded", "1"), ("documents.validate_all_sources", "succeeded", "1")
    }  # fmt: skip
    assert Document.objects.count() == 1


FORM = {
    "kind": "every", "interval": "15 min", "timezone": "UTC", "priority": "0", "enabled": "on", "args": "[]",
    "kwargs": "{}", "overlap": "skip", "catch_up": "one", "gap": "next_valid", "fold": "first", "tenants": "",
}  # fmt: skip


def test_each_button_of_the_page_answers_and_a_second_click_is_told(ada: Any, client: Client, feed: Any) -> None:
    source = feed.source("live", {"a": "Apples."})
    for address in ("sync/", "validate/", f"{source.pk}/sync/", f"{source.pk}/validate/"):
        assert client.post(f"/sources/{address}").status_code == 302
        again = client.post(f"/sources/{address}")
        assert again.status_code == 400
        assert "is already running." in again.content.decode()
        assert client.get(f"/sources/{address}", follow=True).status_code == 200


def test_what_the_sample_sources_serve_is_real_text(client: Client) -> None:
    first = client.get("/feeds/manual/").json()
    assert first["next"] == 2
    assert first["total"] > 50
    assert all(len(one["text"]) > 80 for one in first["documents"])
    assert client.get("/feeds/nobody/").status_code == 404
