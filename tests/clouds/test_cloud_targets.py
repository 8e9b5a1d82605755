"""Schedules of the code at Google's and AWS's schedulers, by their own clients.

Google's answers come from a local server (tests/clouds/google_scheduler.py), those of AWS from moto.
"""

import copy
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from taskyard.errors import ConfigurationError, TargetFailed
from taskyard.schedules import Cron, register
from taskyard.schedules.sources import code
from taskyard.schedules.target import Target, target_named
from tests.app.tasks import nothing
from tests.clouds.google_scheduler import GoogleScheduler
from tests.integration.test_schedule_targets import (
    test_a_second_run_plans_nothing as test_a_second_run_plans_nothing,
)
from tests.integration.test_schedule_targets import (
    test_a_target_gets_what_is_for_it as test_a_target_gets_what_is_for_it,
)
from tests.integration.test_schedule_targets import (
    test_what_the_code_drops_or_changes_goes_or_changes as test_what_the_code_drops_or_changes_goes_or_changes,
)

GOOGLE, AWS = "google-cloud-scheduler", "aws-eventbridge-scheduler"
PARENT = "projects/shop/locations/europe-west1"
ARN, ROLE = "arn:aws:lambda:eu-west-1:123456789012:function:call", "arn:aws:iam::123456789012:role/clock"


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_declared", {})


@pytest.fixture
def google(settings: Any) -> Iterator[GoogleScheduler]:
    with GoogleScheduler().serving() as served:
        settings.TASKYARD = {
            "SCHEDULE_OWNER": "shop",
            "SCHEDULE_TARGETS": {
                GOOGLE: {
                    "project": "shop", "location": "europe-west1", "url": "https://app.example/schedules/",
                    "service_account": "clock@shop.iam.gserviceaccount.com", "endpoint": served.url,
                }
            },
        }  # fmt: skip
        yield served


@pytest.fixture
def aws(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    settings.TASKYARD = {
        "SCHEDULE_OWNER": "shop",
        "SCHEDULE_TARGETS": {
            AWS: {
                "url": "https://app.example/schedules/", "target_arn": ARN, "role_arn": ROLE, "region": "eu-west-1",
                "group": "everybodys",
            }
        },
    }  # fmt: skip
    with mock_aws():
        yield boto3.client("scheduler", region_name="eu-west-1")


@pytest.fixture(params=["google", "aws"])
def target(request: pytest.FixtureRequest) -> Target:
    """What every target keeps to is asked of each."""
    request.getfixturevalue(request.param)
    return target_named(request.param)


def kinds(target: Target, *, adopt: bool = False) -> list[tuple[str, str]]:
    return [(change.kind, change.name) for change in target.sync(adopt=adopt)]


def declare(*names: str, expression: str = "*/5 * * * *", **said: Any) -> None:
    code._declared.clear()
    for name in names:
        register(name, Cron(expression), task=nothing, **said)


# -- Google ------------------------------------------------------------------------------------------------------------


def test_google_calls_for_what_is_declared_and_a_second_sync_does_nothing(google: GoogleScheduler) -> None:
    declare("purge", description="Removes what has expired.")
    register("weekly", Cron("0 9 * * MON", timezone="Europe/Berlin"), task=nothing, http_path="/jobs/weekly")
    register("elsewhere", Cron("@daily"), task=nothing, targets=["builtin"])
    target = target_named("google")
    assert kinds(target) == [("add", "purge"), ("add", "weekly")]
    assert target.compare() == []
    job = google.jobs[f"{PARENT}/jobs/shop-purge"]
    assert job["description"].endswith('"purge"] Removes what has expired.')
    assert (job["schedule"], job["timeZone"], job["attemptDeadline"]) == ("*/5 * * * *", "Etc/UTC", "180s")
    assert job["retryConfig"] == {
        "retryCount": 5, "maxRetryDuration": "1800s", "minBackoffDuration": "5s", "maxBackoffDuration": "300s",
        "maxDoublings": 5,
    }  # fmt: skip
    assert job["httpTarget"] == {
        "uri": "https://app.example/schedules/purge", "httpMethod": "POST",
        "headers": {"User-Agent": "Google-Cloud-Scheduler"},
        "oidcToken": {
            "serviceAccountEmail": "clock@shop.iam.gserviceaccount.com",
            "audience": "https://app.example/schedules/purge",
        },
    }  # fmt: skip
    weekly = google.jobs[f"{PARENT}/jobs/shop-weekly"]
    assert (weekly["schedule"], weekly["timeZone"]) == ("0 9 * * 1", "Europe/Berlin")
    assert weekly["httpTarget"]["uri"] == "https://app.example/jobs/weekly"


def test_what_others_have_at_google_stays_as_it_is(google: GoogleScheduler) -> None:
    foreign = {"schedule": "0 0 * * *", "httpTarget": {"uri": "https://else.example"}}
    theirs = [
        google.create(PARENT, foreign | {"name": f"{PARENT}/jobs/{name}", "description": text})
        for name, text in (
            ("backup", ""),
            ("shop-report", "made by hand"),
            ("shop-taken", "made by hand"),
            ("shop-2-purge", '[taskyard shop-2 0123456789abcdef "purge"]'),
            ("backup-2", '[taskyard shop 0123456789abcdef "backup-2"]'),
        )
    ]
    before = copy.deepcopy(theirs)
    declare("purge", "taken")
    target = target_named(GOOGLE)
    assert kinds(target) == [("add", "purge"), ("conflict", "taken")]
    declare("other")
    assert kinds(target) == [("add", "other"), ("remove", "purge")]
    assert [google.jobs[job["name"]] for job in before] == before
    assert google.jobs.keys() - {job["name"] for job in before} == {f"{PARENT}/jobs/shop-other"}


@pytest.mark.parametrize(
    ("field", "edit"),
    [
        ("schedule", {"schedule": "0 0 * * *"}),
        ("time_zone", {"timeZone": "Asia/Tokyo"}),
        ("attempt_deadline", {"attemptDeadline": "60s"}),
        ("retry_count", {"retryConfig": {"retryCount": 1}}),
        ("uri", {"httpTarget": {"uri": "https://else.example"}}),
        ("state", {"state": "PAUSED"}),
        ("kind", {"httpTarget": None, "pubsubTarget": {"topicName": "projects/shop/topics/x", "data": "eA=="}}),
    ],
)
def test_an_edit_at_google_is_drift_and_is_put_back_or_adopted(
    field: str, edit: dict[str, Any], google: GoogleScheduler
) -> None:
    declare("purge")
    target = target_named(GOOGLE)
    kinds(target)
    name = f"{PARENT}/jobs/shop-purge"
    before = copy.deepcopy(google.jobs[name])
    google.jobs[name] = {key: value for key, value in (before | edit).items() if value is not None}
    [change] = target.compare()
    assert (change.kind, change.name) == ("revert", "purge")
    assert field in change.fields
    assert kinds(target, adopt=True) == [("adopt", "purge")]
    assert kinds(target) == [("revert", "purge")]
    for job in (before, google.jobs[name]):
        del job["userUpdateTime"]
    assert google.jobs[name] == before
    assert target.compare() == []


def test_a_change_of_the_code_is_carried_to_google_also_over_an_edit(google: GoogleScheduler) -> None:
    declare("purge")
    target = target_named(GOOGLE)
    kinds(target)
    declare("purge", expression="0 3 * * *", description="Now by night.")
    google.move(f"{PARENT}/jobs/shop-purge", "pause")
    assert kinds(target, adopt=True) == [("change", "purge")]
    job = google.jobs[f"{PARENT}/jobs/shop-purge"]
    assert (job["schedule"], job["state"]) == ("0 3 * * *", "ENABLED")
    assert target.compare() == []


def test_google_answers_in_pages(google: GoogleScheduler) -> None:
    google.page_size = 2
    declare(*(f"number-{n}" for n in range(7)))
    target = target_named(GOOGLE)
    assert len(kinds(target)) == 7
    google.requests.clear()
    assert target.compare() == []
    assert len(google.requests) == 4


def test_what_google_cannot_say_is_refused_and_what_it_calls_for_goes(google: GoogleScheduler) -> None:
    declare("purge")
    target = target_named(GOOGLE)
    kinds(target)
    declare("purge", expression="0 0 L * *")
    assert kinds(target) == [("refuse", "purge"), ("remove", "purge")]
    assert google.jobs == {}


def test_a_failure_of_google_says_what_failed_and_the_next_sync_goes_on(google: GoogleScheduler) -> None:
    declare("first", "second")
    target = target_named(GOOGLE)
    changes = target.compare()
    google.create(
        PARENT,
        {"name": f"{PARENT}/jobs/shop-second", "schedule": "0 0 * * *", "httpTarget": {"uri": "https://else.example"}},
    )
    with pytest.raises(TargetFailed, match=r"'shop-second'.*already exists"):
        target.apply(changes)
    del google.jobs[f"{PARENT}/jobs/shop-second"]
    assert kinds(target) == [("add", "second")]


# -- AWS ---------------------------------------------------------------------------------------------------------------


def found(aws: Any, name: str) -> dict[str, Any]:
    there: dict[str, Any] = aws.get_schedule(GroupName="everybodys", Name=name)
    return {key: value for key, value in there.items() if key not in ("ResponseMetadata", "LastModificationDate")}


def test_aws_calls_for_what_is_declared_and_a_second_sync_does_nothing(aws: Any) -> None:
    declare("purge", description="Removes what has expired.")
    register("weekly", Cron("0 9 * * MON", timezone="Europe/Berlin"), task=nothing)
    target = target_named("aws")
    assert kinds(target) == [("add", "purge"), ("add", "weekly")]
    assert target.compare() == []
    there = found(aws, "shop-purge")
    assert there["Description"].endswith('"purge"] Removes what has expired.')
    assert (there["ScheduleExpression"], there["ScheduleExpressionTimezone"]) == ("cron(0/5 * * * ? *)", "UTC")
    assert (there["FlexibleTimeWindow"], there["State"]) == ({"Mode": "OFF"}, "ENABLED")
    target_there = there["Target"]
    assert (target_there["Arn"], target_there["RoleArn"]) == (ARN, ROLE)
    assert target_there["RetryPolicy"] == {"MaximumEventAgeInSeconds": 3_600, "MaximumRetryAttempts": 20}
    assert json.loads(target_there["Input"]) == {
        "schedule": "purge", "due_at": "<aws.scheduler.scheduled-time>", "url": "https://app.example/schedules/purge",
    }  # fmt: skip
    weekly = found(aws, "shop-weekly")
    assert (weekly["ScheduleExpression"], weekly["ScheduleExpressionTimezone"]) == (
        "cron(0 9 ? * MON *)",
        "Europe/Berlin",
    )


def by_hand(aws: Any, name: str, description: str = "") -> None:
    aws.create_schedule(
        GroupName="everybodys", Name=name, Description=description, ScheduleExpression="rate(5 minutes)",
        FlexibleTimeWindow={"Mode": "OFF"}, Target={"Arn": ARN, "RoleArn": ROLE},
    )  # fmt: skip


def test_what_others_have_in_the_group_stays_as_it_is(aws: Any) -> None:
    aws.create_schedule_group(Name="everybodys")
    theirs = {
        "backup": "",
        "shop-report": "made by hand",
        "shop-taken": "made by hand",
        "shop-2-purge": '[taskyard shop-2 0123456789abcdef "purge"]',
        "backup-2": '[taskyard shop 0123456789abcdef "backup-2"]',
    }
    for name, text in theirs.items():
        by_hand(aws, name, text)
    before = {name: found(aws, name) for name in theirs}
    declare("purge", "taken")
    target = target_named(AWS)
    assert kinds(target) == [("add", "purge"), ("conflict", "taken")]
    declare("other")
    assert kinds(target) == [("add", "other"), ("remove", "purge")]
    assert {name: found(aws, name) for name in theirs} == before
    names = {there["Name"] for there in aws.list_schedules(GroupName="everybodys")["Schedules"]}
    assert names - theirs.keys() == {"shop-other"}


@pytest.mark.parametrize(
    ("field", "edit"),
    [
        ("expression", {"ScheduleExpression": "rate(5 minutes)"}),
        ("timezone", {"ScheduleExpressionTimezone": "Asia/Tokyo"}),
        ("state", {"State": "DISABLED"}),
        ("flexible_window", {"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5}}),
        ("target", {"Target": {"Arn": f"{ARN}-other", "RoleArn": ROLE}}),
        ("max_retry_attempts", {"Target": {"Arn": ARN, "RoleArn": ROLE, "RetryPolicy": {"MaximumRetryAttempts": 0}}}),
        ("rest", {"EndDate": dt.datetime(2099, 1, 1, tzinfo=dt.UTC)}),
        ("rest", {"Target": {"Arn": ARN, "RoleArn": ROLE, "SqsParameters": {"MessageGroupId": "x"}}}),
    ],
)
def test_an_edit_at_aws_is_drift_and_is_put_back_or_adopted(field: str, edit: dict[str, Any], aws: Any) -> None:
    declare("purge")
    target = target_named(AWS)
    kinds(target)
    before = found(aws, "shop-purge")
    writable = {key: value for key, value in before.items() if key not in ("Arn", "CreationDate")}
    aws.update_schedule(**(writable | edit))
    [change] = target.compare()
    assert (change.kind, change.name) == ("revert", "purge")
    assert field in change.fields
    assert kinds(target, adopt=True) == [("adopt", "purge")]
    assert kinds(target) == [("revert", "purge")]
    assert found(aws, "shop-purge") == before
    assert target.compare() == []


def test_a_change_of_the_code_is_carried_to_aws(aws: Any) -> None:
    declare("purge")
    target = target_named(AWS)
    kinds(target)
    declare("purge", expression="0 0 L * *", description="Now at the end of the month.")
    assert kinds(target) == [("change", "purge")]
    assert found(aws, "shop-purge")["ScheduleExpression"] == "cron(0 0 L * ? *)"
    assert target.compare() == []


def test_an_event_bus_is_told_what_the_event_is(aws: Any, settings: Any) -> None:
    bus = "arn:aws:events:eu-west-1:123456789012:event-bus/default"
    options = settings.TASKYARD["SCHEDULE_TARGETS"][AWS] | {"target_arn": bus}
    settings.TASKYARD = settings.TASKYARD | {"SCHEDULE_TARGETS": {AWS: options}}
    declare("purge")
    target = target_named(AWS)
    kinds(target)
    assert found(aws, "shop-purge")["Target"]["EventBridgeParameters"] == {
        "DetailType": "taskyard schedule due", "Source": "taskyard",
    }  # fmt: skip
    assert target.compare() == []


def test_many_are_read_page_by_page(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(*(f"number-{n}" for n in range(5)))
    target = target_named(AWS)
    kinds(target)
    asked: list[Any] = []
    whole = type(aws).list_schedules

    def in_pages(self: Any, **said: Any) -> Any:
        """As AWS does it; moto has one page for all."""
        asked.append(said.get("NextToken"))
        start = int(said.pop("NextToken", 0))
        answer = whole(self, **said)
        rest = answer["Schedules"][start + 2 :]
        answer["Schedules"] = answer["Schedules"][start : start + 2]
        return answer | ({"NextToken": str(start + 2)} if rest else {})

    client = target._client()  # type: ignore[attr-defined]
    monkeypatch.setattr(type(client), "list_schedules", in_pages)
    monkeypatch.setattr(type(target), "_client", lambda self: client)
    assert target.compare() == []
    assert asked == [None, "2", "4"]


def test_a_failure_of_aws_says_what_failed(aws: Any) -> None:
    declare("purge")
    target = target_named(AWS)
    changes = target.compare()
    aws.create_schedule_group(Name="everybodys")
    by_hand(aws, "shop-purge")
    with pytest.raises(TargetFailed, match="'shop-purge'"):
        target.apply(changes)


# -- both --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "option", "value"), [(GOOGLE, "attempt_deadline", 60), (GOOGLE, "retry_count", "5"), (AWS, "region", None)]
)
def test_options_of_a_wrong_type_are_told(name: str, option: str, value: Any, settings: Any) -> None:
    settings.TASKYARD = {"SCHEDULE_OWNER": "shop", "SCHEDULE_TARGETS": {name: {option: value}}}
    with pytest.raises(ConfigurationError, match=f"{option} must be a "):
        target_named(name)


@pytest.mark.parametrize("name", [GOOGLE, AWS])
def test_without_an_owner_of_its_own_no_cloud_is_touched(name: str, settings: Any) -> None:
    settings.TASKYARD = {"SCHEDULE_TARGETS": {name: {}}}
    with pytest.raises(ConfigurationError, match="SCHEDULE_OWNER must be set"):
        target_named(name)
