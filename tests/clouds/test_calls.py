"""From the registry to the cloud, and from what the cloud was told back to a job."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request

import boto3
import pytest
from django.test import Client
from django.urls import include, path
from moto import mock_aws

from taskyard.integrations.trigger.urls import declared_paths
from taskyard.jobs.models import Job
from taskyard.schedules import Cron, register
from taskyard.schedules.sources import code
from taskyard.schedules.target import target_named
from tests.app.tasks import nothing
from tests.clouds.google_scheduler import GoogleScheduler
from tests.issuer import Issuer

pytestmark = pytest.mark.django_db

PAGE = Path(__file__).parent.parent.parent / "docs" / "trigger.md"
KEY = "k" * 32
URL = "https://app.example/schedules/"
urlpatterns: list[Any] = []


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer().serving() as made:
        yield made


@pytest.fixture(autouse=True)
def project(issuer: Issuer, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_declared", {})
    register("purge", Cron("* * * * *"), task=nothing, targets=["google", "aws"])
    register("report", Cron("* * * * *"), task=nothing, targets=["google", "aws"], http_path="/jobs/report/")
    urlpatterns[:] = [path("schedules/", include("taskyard.integrations.trigger.urls")), *declared_paths()]
    settings.ROOT_URLCONF = __name__
    settings.TASKYARD = {"SCHEDULE_OWNER": "shop", "TRIGGER": issuer.settings(KEYS=[KEY])}


def test_what_google_was_told_is_what_the_trigger_believes(issuer: Issuer, settings: Any) -> None:
    now = dt.datetime.now(dt.UTC)
    with GoogleScheduler().serving() as google:
        options = {
            "project": "p", "location": "l", "url": URL, "service_account": issuer.subject, "endpoint": google.url
        }  # fmt: skip
        settings.TASKYARD = settings.TASKYARD | {"SCHEDULE_TARGETS": {"google": options}}
        target_named("google").sync()
        for job in google.jobs.values():
            to = job["httpTarget"]
            said = to["oidcToken"]
            token = issuer.token("", now, aud=said["audience"], email=said["serviceAccountEmail"])
            answer = Client().generic(
                to["httpMethod"], urlsplit(to["uri"]).path,
                headers={"Authorization": f"Bearer {token}", "X-CloudScheduler-ScheduleTime": now.isoformat()},
            )  # fmt: skip
            assert (answer.status_code, answer.json()["decision"]) == (200, "fired")
    assert Job.objects.count() == 2


def test_the_function_of_the_documentation_calls_as_the_trigger_believes(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = []

    def urlopen(request: Request, timeout: float) -> Any:
        headers = {name: value for name, value in request.header_items() if name != "Content-type"}
        where = urlsplit(request.full_url)
        assert f"{where.scheme}://{where.netloc}" == "https://app.example"
        answers.append(
            Client().generic(
                request.get_method(), where.path, request.data, content_type="application/json", headers=headers
            )
        )

    [block] = re.findall(r"^```python\n(import hashlib.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.M)
    function: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), function)
    function["urllib"] = SimpleNamespace(request=SimpleNamespace(Request=Request, urlopen=urlopen))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("KEY", KEY)
    options = {"url": URL, "target_arn": "arn:aws:lambda:eu-west-1:1:function:f", "region": "eu-west-1"}
    options["role_arn"] = "arn:aws:iam::123456789012:role/clock"
    settings.TASKYARD = settings.TASKYARD | {"SCHEDULE_TARGETS": {"aws": options}}
    due = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with mock_aws():
        target_named("aws").sync()
        client = boto3.client("scheduler", region_name="eu-west-1")
        for there in client.list_schedules(GroupName="taskyard-shop")["Schedules"]:
            told = client.get_schedule(GroupName="taskyard-shop", Name=there["Name"])["Target"]["Input"]
            for _ in range(2):
                function["handler"](json.loads(told.replace("<aws.scheduler.scheduled-time>", due)), None)
    assert [(answer.status_code, answer.json()["decision"]) for answer in answers] == [(200, "fired")] * 4
    assert Job.objects.count() == 2
