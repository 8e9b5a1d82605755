"""What clouds are told of a schedule, and what is refused because they cannot be told exactly."""

import datetime as dt
import json
from typing import Any

import pytest

from taskyard.errors import CannotSay
from taskyard.schedules import At, Bounds, Cron, Every
from taskyard.schedules.definitions.definition import Declaration, Definition
from taskyard.schedules.targets.clouds import wording
from taskyard.schedules.targets.clouds.aws import AwsEventBridgeScheduler, AwsOptions
from taskyard.schedules.targets.clouds.google import GoogleCloudScheduler, GoogleOptions

URL = "https://app.example/schedules"
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)


def google(**more: Any) -> GoogleCloudScheduler:
    said = {"project": "p", "location": "europe-west1", "url": URL, "service_account": "clock@p.example"} | more
    return GoogleCloudScheduler(GoogleOptions(**said), owner="shop")


def aws(**more: Any) -> AwsEventBridgeScheduler:
    said = {"url": URL, "target_arn": "arn:aws:lambda:eu-west-1:1:function:call", "role_arn": "arn:aws:iam::1:role/r"}
    return AwsEventBridgeScheduler(AwsOptions(**said | more), owner="shop")


def declared(recurrence: Any, name: str = "purge", **more: Any) -> Declaration:
    return Declaration(name, Definition(task="app.nothing", recurrence=recurrence, **more))


@pytest.mark.parametrize(
    ("recurrence", "of_google", "of_aws", "zone"),
    [
        (Cron("*/5 * * * *"), "*/5 * * * *", "cron(0/5 * * * ? *)", "UTC"),
        (Cron("* * * * *"), "* * * * *", "cron(* * * * ? *)", "UTC"),
        (Cron("0 3 * * *"), "0 3 * * *", "cron(0 3 * * ? *)", "UTC"),
        (Cron("0 4 * * SUN"), "0 4 * * 0", "cron(0 4 ? * SUN *)", "UTC"),
        (Cron("0 4 * * 7"), "0 4 * * 0", "cron(0 4 ? * SUN *)", "UTC"),
        (Cron("30 9-17/2 * * MON-FRI"), "30 9-17/2 * * 1-5", "cron(30 9,11,13,15,17 ? * MON,TUE,WED,THU,FRI *)", "UTC"),
        (Cron("5/20 0,12 1 JAN,JUL *"), "5-45/20 0,12 1 1,7 *", "cron(5/20 0,12 1 1,7 ? *)", "UTC"),
        (Cron("0 0 */2 * *"), "0 0 */2 * *", "cron(0 0 1/2 * ? *)", "UTC"),
        (Cron("@hourly"), "0 * * * *", "cron(0 * * * ? *)", "UTC"),
        (Cron("0 9 * * MON", timezone="Europe/Berlin"), "0 9 * * 1", "cron(0 9 ? * MON *)", "Europe/Berlin"),
        (Every(15 * MINUTE), "*/15 * * * *", "cron(0/15 * * * ? *)", "UTC"),
        (Every(6 * HOUR, phase=HOUR), "0 1-19/6 * * *", "cron(0 1/6 * * ? *)", "UTC"),
        (Every(DAY, phase=3 * HOUR), "0 3 * * *", "cron(0 3 * * ? *)", "UTC"),
    ],
)
def test_a_recurrence_in_the_words_of_each(recurrence: Any, of_google: str, of_aws: str, zone: str) -> None:
    said = google().translate(declared(recurrence)).fields
    assert (said["schedule"], said["time_zone"]) == (of_google, "Etc/UTC" if zone == "UTC" else zone)
    said = aws().translate(declared(recurrence)).fields
    assert (said["expression"], said["timezone"]) == (of_aws, zone)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 0 L * *", "cron(0 0 L * ? *)"),
        ("0 0 * * 5L", "cron(0 0 ? * 6L *)"),
        ("0 0 * * 0L", "cron(0 0 ? * 1L *)"),
        ("*/30 6 * * MON#2", "cron(0,30 6 ? * 2#2 *)"),
    ],
)
def test_last_and_nth_days_are_said_to_aws_and_refused_by_google(expression: str, said: str) -> None:
    assert aws().translate(declared(Cron(expression))).fields["expression"] == said
    with pytest.raises(CannotSay, match="of a month"):
        google().translate(declared(Cron(expression)))


@pytest.mark.parametrize(
    ("recurrence", "reason"),
    [
        (At(dt.datetime(2027, 2, 1, 8, tzinfo=dt.UTC)), "it runs once"),
        (Every(7 * MINUTE), "not at the same minutes"),
        (Every(dt.timedelta(seconds=30)), "whole minutes"),
        (Cron("0 0 1 * MON"), "day of the month and the day of the week at once"),
        (Cron("0 0 */2 * MON"), "day of the month and the day of the week at once"),
    ],
)
def test_what_neither_can_say_is_refused(recurrence: Any, reason: str) -> None:
    for target in (google(), aws()):
        with pytest.raises(CannotSay, match=reason):
            target.translate(declared(recurrence))
        with pytest.raises(CannotSay, match="begin within"):
            target.translate(declared(Cron("@daily"), bounds=Bounds(window=HOUR)))


@pytest.mark.parametrize("expression", ["0 0 LW * *", "0 0 1,L * *", "0 0 L * MON", "0 0 * * 5L,1L"])
def test_what_aws_has_no_word_for_is_refused(expression: str) -> None:
    with pytest.raises(CannotSay):
        aws().translate(declared(Cron(expression)))


def test_where_clocks_change_only_what_is_surely_the_same_is_said() -> None:
    night = Cron("30 2 * * *", timezone="Europe/Berlin")
    often = Cron("*/30 * * * *", timezone="Europe/Berlin")
    for recurrence in (night, often):
        for target in (google(), aws()):
            with pytest.raises(CannotSay, match="clocks"):
                target.translate(declared(recurrence))
    # As AWS does it; what Google does is written nowhere.
    as_aws = Cron("30 2 * * *", timezone="Europe/Berlin", gap="skip", fold="first")
    assert aws().translate(declared(as_aws)).fields["expression"] == "cron(30 2 * * ? *)"
    with pytest.raises(CannotSay, match="clocks"):
        google().translate(declared(as_aws))


def test_a_schedule_is_called_for_under_its_name_or_at_its_path() -> None:
    odd = declared(Cron("@daily"), name="a b/ç?")
    assert google().translate(odd).fields["uri"] == "https://app.example/schedules/a%20b%2F%C3%A7%3F"
    own = Declaration("purge", odd.definition, http_path="/jobs/purge")
    assert google().translate(own).fields["uri"] == "https://app.example/jobs/purge"
    assert json.loads(aws().translate(own).fields["input"]) == {
        "schedule": "purge", "due_at": "<aws.scheduler.scheduled-time>", "url": "https://app.example/jobs/purge",
    }  # fmt: skip


def test_a_token_is_asked_for_as_the_trigger_wants_it(settings: Any) -> None:
    once_a_day = declared(Cron("@daily"))
    assert google().translate(once_a_day).fields["audience"] == f"{URL}/purge"
    settings.TASKYARD = {
        "TRIGGER": {
            "ISSUER": "https://accounts.google.com", "AUDIENCE": "shop:{schedule}", "SUBJECTS": ["clock@p.example"],
            "JWKS_URL": "https://www.googleapis.com/oauth2/v3/certs",
        }
    }  # fmt: skip
    assert google().translate(once_a_day).fields["audience"] == "shop:purge"


@pytest.mark.parametrize("name", ["purge", 'odd "name" [taskyard x] \\', "ü" * 200, '"' * 200])
def test_whose_it_is_can_be_read_again_and_never_takes_too_much_room(name: str) -> None:
    declaration = declared(Cron("@daily"), name=name, description="Removes what\nnobody [needs] any more. " * 40)
    for target, longest in ((google(), 500), (aws(), 512)):
        item = target.translate(declaration)
        text = wording.marked(item, "shop")
        assert len(text) <= longest
        mark = wording.read_mark(text, "shop")
        assert mark == (name, item.seal, item.fields["description"])
        assert wording.read_mark(text, "shop-2") is None
        assert item.key.startswith(wording.prefix_of("shop"))
    for foreign in ("", "Removes what nobody needs", "[taskyard shop 0123 x]", "x " + text):
        assert wording.read_mark(foreign, "shop") is None


@pytest.mark.parametrize(
    ("make", "changes", "problem"),
    [
        (google, {"project": ""}, "project must be given"),
        (google, {"url": "http://app.example/"}, "url must be the https address"),
        (google, {"attempt_deadline": HOUR}, "attempt_deadline must be"),
        (google, {"retry_count": 6}, "retry_count must be"),
        (google, {"max_doublings": 0}, "max_doublings 1 to 16"),
        (aws, {"target_arn": ""}, "target_arn must be given"),
        (aws, {"target_arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage"}, "target_arn must be that of"),
        (aws, {"max_event_age": 2 * DAY}, "max_event_age must be"),
        (aws, {"max_retry_attempts": 186}, "max_retry_attempts must be"),
        (aws, {"group": "a group"}, "group must be"),
    ],
)
def test_options_that_cannot_work_are_told(make: Any, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make(**changes)
