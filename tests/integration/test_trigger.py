"""The HTTP trigger, in process: what a believed call decides, and what every other one gets."""

import datetime as dt
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.urls import include, path

from taskyard.integrations.trigger import signed_header
from taskyard.integrations.trigger.urls import declared_paths
from taskyard.jobs.models import Job
from taskyard.schedules import Cron, Every, Occurrence, Schedule, register
from taskyard.schedules.scheduler import decide_due
from taskyard.schedules.sources import code
from tests.app.tasks import nothing
from tests.issuer import Issuer, key_pair

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, 0, 2, tzinfo=dt.UTC)
DUE = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
KEY = "k" * 32
urlpatterns: list[Any] = []


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer().serving() as made:
        yield made


@pytest.fixture(autouse=True)
def world(issuer: Issuer, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(code, "_declared", {})
    register("purge", Cron("*/5 * * * *"), task=nothing, targets=["crontab"], http_path="/jobs/purge-expired")
    register("other", Every(HOUR), task=nothing, targets=["crontab"])
    register("ours", Every(HOUR), task=nothing, targets=["builtin"])
    urlpatterns[:] = [path("schedules/", include("taskyard.integrations.trigger.urls")), *declared_paths()]
    settings.ROOT_URLCONF = __name__
    settings.TASKYARD = {**settings.TASKYARD, "TRIGGER": issuer.settings(KEYS=[KEY])}
    with time_machine.travel(NOW, tick=False):
        yield


def deliver(
    token: str = "", *, schedule: str = "purge", due: str | None = "2026-05-04T12:00:00Z", client: Client | None = None,
    **headers: str,
) -> Any:  # fmt: skip
    """As Google's scheduler calls."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if due is not None:
        headers["X-CloudScheduler-ScheduleTime"] = due
    where = schedule if schedule.startswith("/") else f"/schedules/{schedule}"
    return (client or Client()).post(where, headers=headers)


def counts() -> tuple[int, int]:
    return Occurrence.objects.count(), Job.objects.count()


# -- believed ----------------------------------------------------------------------------------------------------------


def test_a_due_time_that_is_delivered_five_times_is_one_job(issuer: Issuer) -> None:
    answers = [deliver(issuer.token("purge", NOW, nonce=str(number))) for number in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    job = Job.objects.get()
    assert answers[0].json() == {
        "schedule": "purge", "due_at": "2026-05-04T12:00:00+00:00", "decision": "fired", "reason": "",
        "job": str(job.id), "jobs": 0,
    }  # fmt: skip
    occurrence = Occurrence.objects.get()
    assert (occurrence.due_at, occurrence.job, job.occurrence) == (DUE, job.id, occurrence.pk)
    assert occurrence.actor.startswith("clock@app.example ")


def test_a_call_that_names_the_moment_it_was_tried_again_gets_the_decision_of_its_due_time(issuer: Issuer) -> None:
    token = issuer.token("purge", NOW)
    first = deliver(token, due="2026-05-04T14:00:00.817190+02:00")
    again = deliver(token, due="2026-05-04T12:00:02Z")
    assert first.json() == again.json()
    assert counts() == (1, 1)


def test_the_next_due_time_is_another_job(issuer: Issuer) -> None:
    deliver(issuer.token("purge", NOW))
    Job.objects.update(state="succeeded", unique_lock=None)
    with time_machine.travel(NOW + 5 * MINUTE, tick=False):
        answer = deliver(issuer.token("purge", NOW + 5 * MINUTE), due="2026-05-04T12:05:00Z")
    assert answer.json()["decision"] == "fired"
    assert counts() == (2, 2)


def test_the_scheduler_of_ours_leaves_it_alone(issuer: Issuer) -> None:
    code.sync(now=NOW)
    deliver(issuer.token("purge", NOW))
    assert Schedule.objects.get(name="purge").next_at is None
    decide_due(NOW + 30 * MINUTE)
    assert Occurrence.objects.filter(schedule__name="purge").count() == 1


def test_paused_is_answered_and_enqueues_nothing(issuer: Issuer) -> None:
    deliver(issuer.token("purge", NOW))
    row = Schedule.objects.get(name="purge")
    row.pause(reason="the printer is on fire")
    with time_machine.travel(NOW + 5 * MINUTE, tick=False):
        token = issuer.token("purge", NOW + 5 * MINUTE)
        assert deliver(token, due="2026-05-04T12:05:00Z").json()["decision"] == "suppressed"
        row.disable()
    with time_machine.travel(NOW + 10 * MINUTE, tick=False):
        token = issuer.token("purge", NOW + 10 * MINUTE)
        answer = deliver(token, due="2026-05-04T12:10:00Z")
        assert (answer.status_code, answer.json()["decision"]) == (200, None)
    assert Job.objects.count() == 1


def test_the_path_that_is_declared_is_served_as_it_is(issuer: Issuer) -> None:
    token = issuer.token("purge", NOW)
    assert deliver(token, schedule="/jobs/purge-expired").json() == deliver(token).json()
    for near in ("/jobs/purge-expired/", "/jobs/purge", "/jobs/purge-expired/x", "/x/jobs/purge-expired"):
        assert deliver(token, schedule=near).status_code == 404
    assert counts() == (1, 1)


def test_a_signed_header_triggers_and_its_due_time_may_stand_in_the_body() -> None:
    due = "2026-05-04T12:00:00Z"
    signature = signed_header.signature(KEY, schedule="purge", due=due, now=NOW)
    answer = Client().post(
        "/schedules/purge", json.dumps({"schedule": "purge", "due_at": due}), content_type="application/json",
        headers={"Taskyard-Signature": signature},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["decision"]) == (200, "fired")
    assert Occurrence.objects.get().actor.startswith("key ")
    assert deliver(due="2026-05-04T11:55:00Z", **{"Taskyard-Signature": signature}).status_code == 403
    assert counts() == (1, 1)


def test_csrf_and_logins_are_no_matter(issuer: Issuer, settings: Any) -> None:
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    strict = Client(enforce_csrf_checks=True)
    assert deliver(issuer.token("purge", NOW), client=strict).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_calls_that_come_at_once_are_one_job(issuer: Issuer) -> None:
    answers: list[Any] = []
    start = threading.Barrier(4)

    def call() -> None:
        start.wait(10)
        try:
            answer = deliver(issuer.token("purge", NOW))
            while answer.status_code == 503:
                # A clock tries again; MariaDB may end a deadlock between two first calls that way.
                answer = deliver(issuer.token("purge", NOW))
            answers.append(answer)
        finally:
            connection.close()

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.content for answer in answers}) == 1
    assert counts() == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_with_atomic_requests_the_job_is_committed_before_it_is_answered(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    seen: list[bool] = []
    original = Occurrence.save

    def save(self: Occurrence, **said: Any) -> None:
        # Nothing but the trigger's own transaction is open.
        seen.append(len(connection.savepoint_ids) == 0)
        original(self, **said)

    monkeypatch.setattr(Occurrence, "save", save)
    assert deliver(issuer.token("purge", NOW)).status_code == 200
    assert seen == [True]


# -- refused -----------------------------------------------------------------------------------------------------------

SECOND = dt.timedelta(seconds=1)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "issuer": ({"iss": "https://evil.example"}, "issuer"),
    "audience": ({"aud": "https://evil.example"}, "udience"),
    "signature": ({"key": key_pair("forger")}, "ignature"),
    "key": ({"kid": "forger"}, "does not publish"),
    "expired": ({"exp": int((NOW - 2 * MINUTE).timestamp())}, "expired"),
    "to come": ({"nbf": int((NOW + 2 * MINUTE).timestamp())}, "not yet valid"),
    "subject": ({"email": "other@app.example"}, "SUBJECTS"),
    "another schedule": ({"aud": "https://app.example/schedules/other"}, "udience"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_token_is_refused_and_logged_and_enqueues_nothing(
    name: str, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    claims, reason = REFUSED[name]
    token = issuer.token("purge", NOW, **claims)
    answer = deliver(token)
    assert (answer.status_code, answer.json()) == (403, {"error": "refused"})
    [record] = [r for r in caplog.records if r.name.startswith("taskyard.")]
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()
    assert token not in caplog.text
    assert counts() == (0, 0)
    assert not Schedule.objects.exists()


def test_an_unknown_schedule_and_one_of_the_built_in_scheduler_look_like_a_wrong_token(issuer: Issuer) -> None:
    wrong = deliver(issuer.token("purge", NOW, iss="https://evil.example"))
    for name in ("nobody", "ours", "purge/x", "x" * 5_000):
        answer = deliver(issuer.token(name, NOW), schedule=name)
        assert (answer.status_code, answer.content) == (403, wrong.content)
    assert counts() == (0, 0)


def test_without_a_token_a_header_of_google_proves_nothing() -> None:
    answer = deliver(**{"X-CloudScheduler": "true", "X-CloudScheduler-JobName": "shop-purge"})
    assert answer.status_code == 403
    assert counts() == (0, 0)


def test_a_row_that_somebody_made_is_not_reached(issuer: Issuer) -> None:
    Schedule.objects.define(name="by hand", recurrence=Every(HOUR), task=nothing)
    assert deliver(issuer.token("by hand", NOW), schedule="by hand").status_code == 403
    assert counts() == (0, 0)


def test_a_token_that_is_used_again_for_another_due_time_is_refused(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    token = issuer.token("purge", NOW)
    assert deliver(token).status_code == 200
    Job.objects.update(state="succeeded", unique_lock=None)
    with time_machine.travel(NOW + 5 * MINUTE, tick=False):
        assert deliver(token, due="2026-05-04T12:05:00Z").status_code == 403
    assert "older than the due time" in caplog.text
    assert counts() == (1, 1)
    # Repeated for the same one it changes nothing, however many are due meanwhile.
    with time_machine.travel(NOW + 20 * MINUTE, tick=False):
        assert deliver(token).json()["decision"] == "fired"
    assert counts() == (1, 1)


def test_within_the_skew_of_clocks_a_token_still_serves_one_due_time(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    register("often", Cron("* * * * *"), task=nothing, targets=["crontab"])
    token = issuer.token("often", NOW)
    assert deliver(token, schedule="often").status_code == 200
    with time_machine.travel(NOW + MINUTE, tick=False):
        assert deliver(token, schedule="often", due="2026-05-04T12:01:00Z").status_code == 403
    assert "used before" in caplog.text
    assert counts() == (1, 1)


@pytest.mark.parametrize("due", ["2026-05-04T12:05:00Z", "2026-05-04T10:00:00Z"])
def test_a_due_time_to_come_or_of_long_ago_is_refused(due: str, issuer: Issuer) -> None:
    assert deliver(issuer.token("purge", NOW), due=due).status_code == 403
    assert counts() == (0, 0)


@pytest.mark.parametrize(
    "due", [None, "", "noon", "2026-05-04T12:00:00", "2026-99-04T12:00:00Z", "0001-01-01T00:00+14:00"]
)
def test_without_a_due_time_a_call_is_malformed(due: str | None, issuer: Issuer) -> None:
    assert deliver(issuer.token("purge", NOW), due=due).status_code == 400
    assert counts() == (0, 0)


@pytest.mark.parametrize(
    "body",
    ["", "[" * 4_000, "[]", "{}", '{"due_at": 5}', '{"due_at": ["2026-05-04T12:00:00Z"]}', " " * 4_097, "\udc00"],
)
def test_a_body_that_says_nothing_is_malformed(body: str, issuer: Issuer) -> None:
    text = body.encode(errors="surrogatepass")
    answer = Client().post(
        "/schedules/purge", text, content_type="application/json",
        headers={"Authorization": f"Bearer {issuer.token('purge', NOW)}"},
    )  # fmt: skip
    assert answer.status_code == 400
    assert counts() == (0, 0)


def test_header_and_body_must_not_contradict_each_other(issuer: Issuer) -> None:
    answer = Client().post(
        "/schedules/purge", '{"due_at": "2026-05-04T11:55:00Z"}', content_type="application/json",
        headers={
            "Authorization": f"Bearer {issuer.token('purge', NOW)}",
            "X-CloudScheduler-ScheduleTime": "2026-05-04T12:00:00Z",
        },
    )  # fmt: skip
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
def test_nothing_but_post_is_answered(method: str) -> None:
    assert getattr(Client(), method)("/schedules/purge").status_code == 405


def test_where_nobody_is_trusted_everything_is_refused(issuer: Issuer, settings: Any) -> None:
    settings.TASKYARD = {key: value for key, value in settings.TASKYARD.items() if key != "TRIGGER"}
    assert deliver(issuer.token("purge", NOW)).status_code == 403
    settings.TASKYARD = {**settings.TASKYARD, "TRIGGER": {"KEYS": [KEY]}}
    assert deliver(issuer.token("purge", NOW)).status_code == 403


def test_while_code_is_rolled_out_the_clock_is_asked_to_try_again(issuer: Issuer) -> None:
    register("new", Every(HOUR), task="app.not_here_yet", targets=["crontab"])
    answer = deliver(issuer.token("new", NOW), schedule="new")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert counts() == (0, 0)
