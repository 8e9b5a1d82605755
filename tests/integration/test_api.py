"""The HTTP API: who calls, what is understood, pages that hold still, and answers that tell nobody too much."""

import datetime as dt
import json
import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.signals import got_request_exception
from django.test import Client, override_settings
from django.utils import timezone

from taskyard import task
from taskyard.entrypoint import cli
from taskyard.entrypoint.screen import Screen
from taskyard.errors import NotAllowed, TaskyardError
from taskyard.models import ApiToken, AuditEntry, Failure, FailureGroup, Job, Schedule
from taskyard.operations import Actor, tokens
from tests.app.tasks import nothing
from tests.integration.verb_cases import tenant_of

pytestmark = pytest.mark.django_db

API = "/taskyard/api/v1/"
SYSTEM = Actor.system("the test")


def key(*scopes: str, **said: Any) -> str:
    return tokens.create(SYSTEM, "a program", scopes=scopes or ("read",), **said).secret


def by(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def client() -> Client:
    """A program that may do everything."""
    return by(key(*tokens.permissions()))


def get(client: Client, path: str, **query: Any) -> Any:
    response = client.get(API + path, query)
    assert response.status_code == 200, response.content
    return response.json()


def post(client: Client, path: str, document: Any = None, *, status: int = 200, method: str = "POST") -> Any:
    text = "" if document is None else json.dumps(document)
    response = client.generic(method, API + path, text, content_type="application/json")
    assert response.status_code == status, (response.status_code, response.content)
    return response.json()


def user(name: str, *codenames: str) -> User:
    made = User.objects.create_user(name)
    made.user_permissions.set(Permission.objects.filter(content_type__app_label="taskyard", codename__in=codenames))
    return User.objects.get(pk=made.pk)


def fail(job: Any, error: dict[str, str]) -> None:
    now = timezone.now()
    Job.objects.filter(id=job.id).update(state="failed", finished_at=now, error=error, attempt=1)


# -- who calls ---------------------------------------------------------------------------------------------------------


def test_nobody_is_told_to_say_who_he_is() -> None:
    response = Client().get(API + "jobs")
    assert (response.status_code, response.headers["Content-Type"]) == (401, "application/problem+json")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="taskyard"'
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json()["type"] == "urn:taskyard:api:unauthenticated"


def test_a_session_changes_something_only_with_the_csrf_token() -> None:
    job = nothing.enqueue()
    ann = user("ann", "view_job", "cancel_job")
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ann)
    assert [each["id"] for each in get(browser, "jobs")["items"]] == [str(job.id)]
    refused = post(browser, f"jobs/{job.id}/cancel", status=403)
    assert refused["type"] == "urn:taskyard:api:csrf"
    browser.cookies["csrftoken"] = "a" * 32
    done = browser.post(f"{API}jobs/{job.id}/cancel", headers={"X-CSRFToken": "a" * 32})
    assert (done.status_code, done.json()) == (200, {"found": 1, "changed": 1})
    assert AuditEntry.objects.get().who == "ann"


def test_a_token_needs_no_csrf_token_and_stands_in_the_audit() -> None:
    job = nothing.enqueue()
    secret = key("cancel_job")
    program = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {secret}"})
    assert post(program, f"jobs/{job.id}/cancel", {"reason": "tidy"}) == {"found": 1, "changed": 1}
    entry = AuditEntry.objects.get(verb="cancel")
    row = ApiToken.objects.get()
    assert (entry.who, entry.via, entry.reason) == (f"token {row.prefix} (a program)", "api", "tidy")
    assert secret not in str(list(ApiToken.objects.values()))
    assert secret.split("_", 2)[2] not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize(
    "how", ["unknown", "changed", "revoked", "expired", "other kind", "odd", "user gone", "inactive"]
)
def test_a_token_that_is_no_good_opens_nothing(how: str) -> None:
    ann = user("ann", "view_job")
    secret = key("read", user=ann)
    row = ApiToken.objects.get()
    match how:
        case "unknown":
            secret = secret.replace(row.prefix, "unknown2")
        case "changed":
            secret = secret[:-1] + ("a" if secret[-1] != "a" else "b")
        case "revoked":
            tokens.revoke(SYSTEM, row.prefix)
        case "expired":
            ApiToken.objects.update(expires_at=timezone.now())
        case "odd":
            secret = "tky_\x00é\ud800".encode("utf-8", "surrogatepass").decode("latin-1")
        case "user gone":
            ann.delete()
        case "inactive":
            User.objects.update(is_active=False)
    program = Client(headers={"Authorization": f"{'Basic' if how == 'other kind' else 'Bearer'} {secret}"})
    response = program.get(API + "jobs")
    assert response.status_code == 401
    assert ApiToken.objects.get().last_used_at is None


def test_a_good_token_opens_what_its_scopes_say_and_a_header_beats_a_session() -> None:
    browser = by(key("read"))
    browser.force_login(User.objects.create_superuser("root"))
    assert browser.get(API + "jobs").status_code == 200
    assert post(browser, "jobs", {"task": nothing.name}, status=403)["type"] == "urn:taskyard:error:not-allowed"


def test_a_token_of_a_user_does_what_both_may() -> None:
    ann = user("ann", "view_job", "retry_job")
    job = nothing.enqueue()
    program = by(key("read", "cancel_job", "retry_job", user=ann))
    assert len(get(program, "jobs")["items"]) == 1
    post(program, f"jobs/{job.id}/cancel", status=403)
    assert program.get(API + "queues").status_code == 403
    ann.user_permissions.clear()
    assert program.get(API + "jobs").status_code == 403


def test_nobody_makes_a_token_that_can_more_than_himself() -> None:
    ann, bob = user("ann", "add_apitoken", "view_job"), user("bob")
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: "acme"}):
        actor = Actor.of_user(ann)
        with pytest.raises(NotAllowed):
            tokens.create(actor, "t", scopes=["retry_job"])
        with pytest.raises(NotAllowed):
            tokens.create(actor, "t", scopes=["view_job"], user=bob)
        assert tokens.create(actor, "t", scopes=["view_job"]).row.tenant == "acme"
    with pytest.raises(TaskyardError, match="'write' is no scope"):
        tokens.create(SYSTEM, "t", scopes=["write"])


def test_a_token_of_a_tenant_sees_its_own_alone() -> None:
    mine, theirs = nothing.using(tenant="acme").enqueue(), nothing.using(tenant="globex").enqueue()
    program = by(key("read", "cancel_job", "enqueue_job", tenant="acme"))
    assert [each["id"] for each in get(program, "jobs")["items"]] == [str(mine.id)]
    there, nowhere = (post(program, f"jobs/{one}/cancel", status=404) for one in (theirs.id, uuid.uuid4()))
    assert {**there, "instance": ""} == {**nowhere, "instance": ""}
    assert post(program, "jobs", {"task": nothing.name}, status=201)["tenant"] == "acme"
    post(program, "jobs", {"task": nothing.name, "tenant": "globex"}, status=404)
    assert program.get(API + "jobs", {"tenant": "globex"}).status_code == 404


def test_that_a_token_is_used_is_written_once_a_minute() -> None:
    program = by(key("read"))
    get(program, "jobs")
    first = ApiToken.objects.get().last_used_at
    get(program, "jobs")
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=timezone.now() - dt.timedelta(minutes=2))
    get(program, "jobs")
    assert ApiToken.objects.get().last_used_at >= first


# -- what is understood ------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str, Any, str, str]] = [
    ("POST", "jobs", {"tusk": "app.nothing"}, "tusk", "Did you mean 'task'?"),
    ("POST", "jobs", {}, "task", "missing"),
    ("POST", "jobs", {"task": 3}, "task", "must be a string"),
    ("POST", "jobs", {"task": "app.nothing", "priority": 101}, "priority", "-100 to 100"),
    ("POST", "jobs", {"task": "app.nothing", "priority": True}, "priority", "whole number"),
    ("POST", "jobs", {"task": "app.nothing", "run_after": "tomorrow"}, "run_after", "time with a zone"),
    ("POST", "jobs", {"task": "app.nothing", "run_after": "2027-01-01T00:00:00"}, "run_after", "time with a zone"),
    ("POST", "jobs", {"task": "app.nothing", "kwargs": {"oops": 1}}, "kwargs", "oops"),
    ("POST", "jobs", {"task": "app.\0"}, "task", "NUL"),
    ("POST", "jobs/retry", {"ids": []}, "ids", "1 to 1,000"),
    ("POST", "jobs/retry", {"ids": ["a", 3]}, "ids[1]", "must be a string"),
    ("POST", "jobs/bulk", {"verb": "retry", "filter": {}}, "filter", "which jobs"),
    ("POST", "jobs/bulk", {"verb": "retry", "filter": {"state": ["failed"], "rate": 1}}, "filter.rate", "not known"),
    ("POST", "jobs/bulk", {"verb": "retry", "filter": {"state": ["failed"]}, "rate": 0}, "rate", "above 0"),
    ("POST", "jobs/bulk", {"verb": "edit", "filter": {"state": ["failed"]}}, "verb", "one of retry"),
    ("POST", "queues/low/limit", {"rate_seconds": 3}, "rate_seconds", "goes with a rate"),
    ("POST", "schedules", {"name": "n", "task": "app.nothing", "recurrence": {"kind": "daily"}}, "recurrence", "kind"),
    ("GET", "jobs?stat=failed", None, "stat", "Did you mean 'state'?"),
    ("GET", "jobs?state=fialed", None, "state", "Did you mean 'failed'?"),
    ("GET", "jobs?limit=0", None, "limit", "1 to 200"),
    ("GET", "jobs?limit=1&limit=2", None, "limit", "more than once"),
    ("GET", "jobs?cursor=nonsense", None, "cursor", "take `next`"),
    ("GET", "audit?cursor=MjAyNi0wMS0wMX4x", None, "cursor", "take `next`"),
    ("GET", "events", None, "job", "missing"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "document", "field", "says"), WRONG)
def test_what_cannot_be_meant_is_refused_with_a_sentence_about_the_field(
    client: Client, method: str, path: str, document: Any, field: str, says: str
) -> None:
    found = post(client, path, document, status=422, method=method)
    assert found["errors"][0]["field"] == field
    assert says in found["errors"][0]["problem"]
    assert not Job.objects.get_queryset().exists()


@pytest.mark.parametrize(
    ("text", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"task": "app.nothing", "priority": NaN}', "application/json", 400),
        (b'{"task": "app.nothing", "priority": 1e999}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"task": "app.nothing"}', "text/plain", 415),
        (b'{"task": "app.nothing"}', "application/x-www-form-urlencoded", 415),
        (b"[]", "application/json", 422),
        (b'"' + b"x" * 400_000 + b'"', "application/json", 413),
    ],
)
def test_a_body_that_is_no_document_is_refused(client: Client, text: bytes, kind: str, status: int) -> None:
    response = client.post(API + "jobs", text, content_type=kind)
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")


def test_methods(client: Client) -> None:
    refused = client.put(API + "jobs")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert client.options(API + "jobs/retry").headers["Allow"] == "OPTIONS, POST"
    head = client.head(API + "jobs")
    assert (head.status_code, head.content, head.headers["Content-Type"]) == (200, b"", "application/json")
    assert client.get(API + "nothing/here").json()["type"] == "urn:taskyard:api:address"


@pytest.mark.parametrize("name", ["%00", "a" * 400, "%ed%a0%80", "..", "-1", "99999999999999999999999"])
@pytest.mark.parametrize("path", ["jobs/{}", "batches/{}", "failures/{}", "schedules/{}"])
def test_odd_names_are_not_found(client: Client, path: str, name: str) -> None:
    assert client.get(API + path.format(name)).status_code == 404


def test_a_fault_is_told_to_whoever_collects_errors_and_not_to_the_client(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise KeyError("hunter2")

    seen: list[Any] = []
    got_request_exception.connect(lambda **said: seen.append(said["request"]), weak=False, dispatch_uid="here")
    monkeypatch.setattr("taskyard.operations.jobs.page", broken)
    client.raise_request_exception = False
    try:
        response = client.get(API + "jobs")
    finally:
        got_request_exception.disconnect(dispatch_uid="here")
    assert (response.status_code, response.json()["type"]) == (500, "urn:taskyard:error:fault")
    assert len(seen) == 1 and "hunter2" not in response.content.decode()


# -- jobs --------------------------------------------------------------------------------------------------------------


def test_pages_hold_still_while_jobs_come(client: Client) -> None:
    ids = [str(nothing.enqueue(n=n).id) for n in range(7)]
    found, cursor = [], None
    while True:
        page = get(client, "jobs", limit=3, **({"cursor": cursor} if cursor else {}))
        found += [each["id"] for each in page["items"]]
        nothing.enqueue(n=99)
        cursor = page["next"]
        if cursor is None:
            break
    assert found == ids[::-1]


def test_jobs_are_filtered(client: Client) -> None:
    one = nothing.using(queue_name="low", tenant="acme").enqueue()
    nothing.enqueue()
    fail(one, {"type": "ValueError", "message": "no", "reason": ""})
    since = (timezone.now() - dt.timedelta(minutes=1)).isoformat()
    for query in (
        {"state": "failed"}, {"queue": "low"}, {"tenant": "acme"}, {"state": ["failed", "cancelled"], "task": "app.*"},
        {"state": "failed", "since": since},
    ):  # fmt: skip
        assert [each["id"] for each in get(client, "jobs", **query)["items"]] == [str(one.id)], query
    assert get(client, "jobs", task="app.else")["items"] == []


def test_enqueuing_copying_and_editing(client: Client) -> None:
    made = post(client, "jobs", {"task": nothing.name, "kwargs": {"n": 1}, "queue": "low", "priority": 7,
                                 "delay_seconds": 60, "unique_key": "k", "tags": ["a"]}, status=201)  # fmt: skip
    again = post(client, "jobs", {"task": nothing.name, "unique_key": "k"})
    assert (again["id"], again["created"]) == (made["id"], False)
    job = get(client, f"jobs/{made['id']}")
    assert (job["kwargs"], job["queue"], job["priority"], job["tags"]) == ({"n": 1}, "low", 7, ["a"])
    assert "its time has not come" in job["waits_because"]
    assert "claim" not in job and "unique_lock" not in job
    assert post(client, f"jobs/{made['id']}/edit", {"kwargs": {"n": 2}}, status=409)
    assert post(client, "jobs/cancel", {"ids": [made["id"], str(uuid.uuid4())]}) == {"found": 1, "changed": 1}
    post(client, f"jobs/{made['id']}/edit", {"kwargs": {"wrong": 2}}, status=422)
    assert post(client, f"jobs/{made['id']}/edit", {"kwargs": {"n": 2}})["changed"] == 1
    assert get(client, f"jobs/{made['id']}")["kwargs"] == {"n": 2}
    post(client, "jobs", {"task": "app.unheard"}, status=422)


class Overdrawn(Exception):
    """The account does not cover this."""


@task(name="app.charge_card", errors={Overdrawn: 402})
def charge_card() -> None: ...


def test_a_job_that_failed_as_its_task_declares_says_what_that_is_to_a_client(client: Client) -> None:
    job, other = charge_card.enqueue(), charge_card.enqueue()
    fail(job, {"type": f"{__name__}.Overdrawn", "message": "hunter2", "reason": ""})
    fail(other, {"type": "ValueError", "message": "hunter2", "reason": ""})
    assert get(client, f"jobs/{job.id}")["problem"] == {
        "type": "urn:taskyard:task-error:overdrawn", "title": "Overdrawn", "status": 402,
        "detail": "The account does not cover this.",
    }  # fmt: skip
    assert get(client, f"jobs/{other.id}")["problem"] is None


def test_a_declared_error_of_a_body_that_runs_at_once_is_the_answer(client: Client) -> None:
    @task(name="app.charge_now", errors={Overdrawn: 402})
    def charge_now() -> None:
        raise Overdrawn("hunter2")

    with override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_EAGER_PROPAGATES=True):
        found = post(client, "jobs", {"task": "app.charge_now"}, status=402)
    assert found["detail"] == "The account does not cover this."


def test_what_json_has_no_number_for_is_null(client: Client) -> None:
    job = nothing.enqueue()
    Job.objects.filter(id=job.id).update(result={"x": [float("nan"), float("inf"), 1.5]})
    assert get(client, f"jobs/{job.id}")["result"] == {"x": [None, None, 1.5]}


def test_a_bulk_verb_is_previewed_and_begun(client: Client) -> None:
    for n in range(3):
        fail(nothing.enqueue(n=n), {"type": "ValueError", "message": "no", "reason": ""})
    asked = {"verb": "discard", "filter": {"state": ["failed"], "task": "app.nothing"}, "rate": 50}
    seen = post(client, "jobs/bulk/preview", asked)
    assert (seen["count"], seen["is_more"], len(seen["sample"])) == (3, False, 3)
    begun = post(client, "jobs/bulk", asked, status=202)
    entry = AuditEntry.objects.get(verb="discard")
    assert (str(entry.job), entry.said["rate"], entry.count) == (begun["job"], 50, 0)


# -- other things ------------------------------------------------------------------------------------------------------


def test_a_group_of_failures_is_shown_said_something_of_and_retried(client: Client) -> None:
    now = timezone.now()
    jobs = [nothing.enqueue(n=n) for n in range(3)]
    group = FailureGroup.objects.create(
        fingerprint="1-ab", task=nothing.name, error_type="ValueError", message="no <n>", first_seen_at=now, seen_at=now
    )
    for place, job in enumerate(jobs):
        fail(job, {"type": "ValueError", "message": "no 3", "reason": ""})
        Failure.objects.create(job_id=job.id, group=group, failed_at=now - dt.timedelta(seconds=place))
    assert [each["count"] for each in get(client, "failures", state="open")["items"]] == [3]
    first = get(client, "failures/1-ab/jobs", limit=2)
    second = get(client, "failures/1-ab/jobs", limit=2, cursor=first["next"])
    assert [each["id"] for each in first["items"] + second["items"]] == [str(job.id) for job in jobs]
    assert second["next"] is None
    assert post(client, "failures/1-ab/snooze", {"until": "2999-01-01T00:00:00Z"})["state"] == "snoozed"
    post(client, "failures/1-ab/snooze", {"until": "2001-01-01T00:00:00Z"}, status=422)
    assert "release" in post(client, "failures/1-ab/snooze", {"until_release": True}, status=409)["detail"]
    assert post(client, "failures/1-ab/note", {"text": "looked at"})["note"] == "looked at"
    assert post(client, "failures/1-ab/resolve")["state"] == "resolved"
    assert post(client, "failures/1-ab/reopen")["state"] == "open"
    begun = post(client, "failures/1-ab/retry", {"rate": 200}, status=202)
    entry = AuditEntry.objects.get(kind="failure", verb="retry")
    assert (str(entry.job), entry.target) == (begun["job"], "1-ab")


def test_groups_of_failures_come_in_pages(client: Client) -> None:
    now = timezone.now()
    for n in range(5):
        at = now - dt.timedelta(minutes=n // 2)
        group = FailureGroup.objects.create(
            fingerprint=f"1-{n}", task=nothing.name, error_type="E", first_seen_at=at, seen_at=at
        )
        job = nothing.enqueue(n=n)
        fail(job, {"type": "E", "message": "", "reason": ""})
        Failure.objects.create(job_id=job.id, group=group, failed_at=at)
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = get(client, "failures", limit=2, **cursor)
        found += [each["fingerprint"] for each in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == ["1-1", "1-0", "1-3", "1-2", "1-4"]


def test_people_of_a_tenant_define_schedules_within_limits() -> None:
    ann = user("acme-ann", "view_schedule", "change_schedule", "view_payload", "run_schedule")
    hourly = {"name": "report-17", "task": nothing.name, "recurrence": {"kind": "every", "seconds": 3600}}
    settings = {"TENANT_OF_USER": tenant_of, "USER_SCHEDULES": {"tasks": [nothing.name], "most_per_tenant": 1}}
    browser = Client()
    browser.force_login(ann)
    with override_settings(TASKYARD=settings):
        made = post(browser, "schedules", {**hourly, "subject_type": "app.note", "subject_id": "3"}, status=201)
        assert (made["tenant"], made["origin"], made["subject_id"]) == ("acme", "user", "3")
        again = post(browser, "schedules", {**hourly, "recurrence": {"kind": "every", "seconds": 7200}})
        assert (again["id"], again["version"]) == (made["id"], 2)
        for wrong in (
            {"name": "report-18"}, {"recurrence": {"kind": "every", "seconds": 60}}, {"task": "app.note"},
            {"queue": "high"},
        ):  # fmt: skip
            assert post(browser, "schedules", {**hourly, **wrong}, status=422)["errors"], wrong
        post(browser, "schedules", {**hourly, "tenant": "globex"}, status=404)
        assert get(browser, "schedules", prefix="report-")["items"][0]["name"] == "report-17"
        assert post(browser, f"schedules/{made['id']}/run")["decision"] == "fired"
        assert "run it again after" in post(browser, f"schedules/{made['id']}/run", status=422)["detail"]
        assert len(get(browser, f"schedules/{made['id']}/next", count=3)["items"]) == 3
    assert [entry.verb for entry in AuditEntry.objects.order_by("id")] == ["define", "define", "run"]
    with override_settings(TASKYARD={"TENANT_OF_USER": tenant_of}):
        assert "USER_SCHEDULES" in post(browser, "schedules", hourly, status=422)["detail"]


def test_an_operator_defines_shows_and_deletes_a_schedule(client: Client) -> None:
    cron = {"kind": "cron", "expression": "0 8 * * 1", "timezone": "Europe/Berlin"}
    made = post(client, "schedules", {"name": "mondays", "task": nothing.name, "recurrence": cron, "tenant": "acme",
                                      "overlap": "allow", "bounds": {"max_runs": 3}}, status=201)  # fmt: skip
    shown = get(client, f"schedules/{made['id']}")
    assert (shown["recurrence"]["expression"], shown["state"], shown["decisions"]) == ("0 8 * * 1", "on", [])
    assert post(client, f"schedules/{made['id']}/pause", {"until": "2999-01-01T00:00:00Z"}) == {"changed": 1}
    assert get(client, f"schedules/{made['id']}")["state"] == "paused"
    assert post(client, f"schedules/{made['id']}", method="DELETE") == {"changed": 1}
    assert not Schedule.objects.all().exists()


def test_status_is_what_the_command_says(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    nothing.enqueue()
    client.post(API + "queues/celery/pause")
    assert cli.run(["status", "--json"], prog="taskyard", has_project=True, screen=Screen()) == 0
    said, told = json.loads(capsys.readouterr().out), get(client, "status")
    for changing in ("at",):
        said.pop(changing), told.pop(changing)
    assert json.loads(json.dumps(told).replace('Z"', '+00:00"')) == said


def test_progress_is_followed_as_a_stream_by_whoever_may_see_the_job(client: Client) -> None:
    job, theirs = nothing.using(tenant="acme").enqueue(), nothing.using(tenant="globex").enqueue()
    Job.objects.filter(id__in=[job.id, theirs.id]).update(state="succeeded", finished_at=timezone.now())
    program = by(key("read", tenant="acme"))
    threads = {"wsgi.multithread": True}
    response = program.get(API + "events", {"job": [str(job.id), str(theirs.id)]}, **threads)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/event-stream")
    text = b"".join(response.streaming_content).decode()
    assert str(job.id) in text and str(theirs.id) not in text and "event: end" in text
    last = re.findall(r"^id: (.+)$", text, re.MULTILINE)[-1]
    again = program.get(API + "events", {"job": str(job.id)}, headers={"Last-Event-ID": last}, **threads)
    assert again.status_code == 204
    assert program.get(API + "events", {"job": str(theirs.id)}).status_code == 404


# -- tokens on the command line ----------------------------------------------------------------------------------------


def run(*words: str, screen: Screen | None = None) -> int:
    return cli.run(list(words), prog="taskyard", has_project=True, screen=screen or Screen())


def test_tokens_are_made_listed_and_revoked_at_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tokens", "create", "grafana", "--scope", "read", "--tenant", "acme", "--expires", "90d") == 0
    secret = capsys.readouterr().out.strip()
    assert by(secret).get(API + "jobs").status_code == 200
    assert run("tokens", "list", "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["name"], row["tenant"], row["scopes"]) == ("grafana", "acme", ["read"])
    assert "secret" not in row and "digest" not in row
    assert run("tokens", "revoke", row["prefix"]) == 0
    assert by(secret).get(API + "jobs").status_code == 401
    assert run("tokens", "revoke", row["prefix"]) == 1
    assert [entry.verb for entry in AuditEntry.objects.order_by("id")] == ["create", "revoke", "revoke"]
