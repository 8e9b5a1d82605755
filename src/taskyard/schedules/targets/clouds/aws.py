"""AWS EventBridge Scheduler: a schedule for each of ours, which hands its due time to what calls the trigger."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from taskyard.errors import CannotSay, TargetFailed
from taskyard.schedules.definitions.definition import Declaration
from taskyard.schedules.recurrence import Cron, Recurrence
from taskyard.schedules.recurrence.expression import LAST, values
from taskyard.schedules.target import Change, Found, Item, Standing, Target
from taskyard.schedules.targets.clouds import wording
from taskyard.schedules.targets.dialect import refuse_differences, refuse_window

_LONGEST_KEY, _LONGEST_DESCRIPTION, _LONGEST_EXPRESSION = 64, 512, 256
_DAYS_OF_WEEK = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
#: What AWS replaces by the due time, in UTC.
_DUE = "<aws.scheduler.scheduled-time>"
_KNOWN_OF_TARGET = frozenset({"Arn", "RoleArn", "Input", "RetryPolicy", "DeadLetterConfig", "EventBridgeParameters"})
_KNOWN = frozenset({
    "Name", "GroupName", "Arn", "CreationDate", "LastModificationDate", "ResponseMetadata", "Description", "State",
    "ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow", "ActionAfterCompletion", "Target",
})  # fmt: skip
_CONNECT_SECONDS, _READ_SECONDS = 10, 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AwsOptions:
    """``SCHEDULE_TARGETS["aws-eventbridge-scheduler"]``."""

    #: Where ``taskyard.integrations.trigger.urls`` is included.
    url: str = ""
    #: What AWS calls: a function that calls ``url``, or an event bus with a rule that does.
    target_arn: str = ""
    #: The role in which it does.
    role_arn: str = ""
    #: A queue for calls that were given up; empty: they are forgotten, and the next due time catches up.
    dead_letter_arn: str = ""
    #: The group of the schedules; empty: ``taskyard-`` and SCHEDULE_OWNER. Made if it is not there.
    group: str = ""
    #: Empty: that of the environment.
    region: str = ""
    #: How long after its time a call that failed is made again (a minute to a day), and how often (0 to 185).
    max_event_age: dt.timedelta = dt.timedelta(hours=1)
    max_retry_attempts: int = 20
    #: Empty: that of AWS.
    endpoint: str = ""

    def __post_init__(self) -> None:
        for name in ("url", "target_arn", "role_arn"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given")
        wording.checked_url(self.url)
        if self.target_arn.startswith("arn:aws:scheduler:::aws-sdk:"):
            raise ValueError("target_arn must be that of a function or an event bus; it is a call of the AWS API")
        if not dt.timedelta(minutes=1) <= self.max_event_age <= dt.timedelta(days=1):
            raise ValueError(f"max_event_age must be a minute to a day; it is {self.max_event_age}")
        if not 0 <= self.max_retry_attempts <= 185:
            raise ValueError(f"max_retry_attempts must be 0 to 185; it is {self.max_retry_attempts}")
        if self.group and not re.fullmatch(r"[\w.-]{1,64}", self.group, re.ASCII):
            raise ValueError(
                f"group must be up to 64 letters, digits, dots, dashes or underscores; it is {self.group!r}"
            )


class AwsEventBridgeScheduler(Target):
    """Schedules of one group. Whose they are stands at the beginning of their description.

    Where clocks change, AWS leaves out times that are skipped and runs repeated ones once, the first time.
    """

    name: ClassVar[str] = "aws-eventbridge-scheduler"
    shares: ClassVar[bool] = True
    Options: ClassVar[type] = AwsOptions
    options: AwsOptions

    def translate(self, declaration: Declaration) -> Item:
        """What a schedule says, in seconds where it is a duration."""
        definition, options = declaration.definition, self.options
        refuse_window(self.name, definition)
        expression, zone = self._cron(definition.recurrence)
        is_bus = ":event-bus/" in options.target_arn
        said = {
            "schedule": declaration.name, "due_at": _DUE, "url": wording.address_of(declaration, options.url)
        }  # fmt: skip
        fields = {
            "expression": expression, "timezone": zone, "state": "ENABLED", "flexible_window": "OFF",
            "after_completion": "NONE", "target": options.target_arn, "role": options.role_arn,
            "input": json.dumps(said, ensure_ascii=False),
            "event": "taskyard schedule due" if is_bus else "",
            "max_event_age": int(options.max_event_age.total_seconds()),
            "max_retry_attempts": options.max_retry_attempts, "dead_letter": options.dead_letter_arn, "rest": "",
            "description": wording.description_of(declaration, self.owner, longest=_LONGEST_DESCRIPTION),
        }  # fmt: skip
        return Item(declaration.name, wording.key_of(declaration.name, self.owner, longest=_LONGEST_KEY), fields)

    def _cron(self, recurrence: Recurrence) -> tuple[str, str]:
        if isinstance(recurrence, Cron) and (days := _special_days(self.name, recurrence.expression)):
            # Read without them, because no other clock has them.
            minute, hour, _, month, _ = recurrence.expression.split()
            numbers, zone = wording.numbers_of(self.name, Cron(f"{minute} {hour} * {month} *"))[0], recurrence.timezone
            said = recurrence.expression
        else:
            numbers, zone = wording.numbers_of(self.name, recurrence)
            days = _days(numbers)
            said = wording.plain(numbers)
        as_aws = Cron(said, timezone=zone, gap="skip", fold="first")
        refuse_differences(self.name, wanted=recurrence, said=as_aws, since=self.since)
        minute, hour, month = (_field(index, numbers[index]) for index in (0, 1, 3))
        expression = f"cron({minute} {hour} {days[0]} {month} {days[1]} *)"
        if len(expression) > _LONGEST_EXPRESSION:
            raise CannotSay(self.name, f"its expression would be longer than {_LONGEST_EXPRESSION} characters")
        return expression, zone

    def read(self) -> Found:
        """The schedules of the group."""
        client, owned, foreign = self._client(), {}, set()
        with _failing(self.name):
            for key in _names(client, self._group):
                if not key.startswith(wording.prefix_of(self.owner)):
                    foreign.add(key)
                    continue
                there = client.get_schedule(GroupName=self._group, Name=key)
                mark = wording.read_mark(there.get("Description", ""), self.owner)
                if mark is None:
                    foreign.add(key)
                else:
                    owned[key] = Standing(Item(mark.name, key, _fields(there, mark.description)), mark.seal)
        return Found(owned, frozenset(foreign))

    def apply(self, changes: Sequence[Change]) -> None:
        """Write schedules one by one; a run that was stopped in between is completed by the next."""
        client = self._client()
        with _failing(self.name, self._group):
            self._make_group(client)
        for change in changes:
            with _failing(self.name, change.key):
                self._apply(client, change)

    def _apply(self, client: Any, change: Change) -> None:
        key = {"GroupName": self._group, "Name": change.key}
        if change.item is None:
            client.delete_schedule(**key)
        elif change.kind == "add":
            client.create_schedule(**key, **_schedule(change.item, self.owner))
        else:
            client.update_schedule(**key, **_schedule(change.item, self.owner))

    def _make_group(self, client: Any) -> None:
        try:
            client.get_schedule_group(Name=self._group)
        except client.exceptions.ResourceNotFoundException:
            client.create_schedule_group(Name=self._group, Tags=[{"Key": "taskyard-owner", "Value": self.owner}])

    @property
    def _group(self) -> str:
        return self.options.group or f"taskyard-{self.owner}"

    def _client(self) -> Any:
        with wording.library("aws"):
            import boto3
            from botocore.config import Config
        config = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)
        with _failing(self.name):
            return boto3.client(
                "scheduler", region_name=self.options.region or None, endpoint_url=self.options.endpoint or None,
                config=config,
            )  # fmt: skip


def _names(client: Any, group: str) -> Iterator[str]:
    try:
        for page in client.get_paginator("list_schedules").paginate(GroupName=group):
            for there in page["Schedules"]:
                yield there["Name"]
    except client.exceptions.ResourceNotFoundException:
        # The group is made when something is written.
        return


def _field(index: int, numbers: list[int]) -> str:
    """``*``, ``0/5``, ``9-17`` or ``1,5``: only what AWS documents."""
    if wording.is_all(index, numbers):
        return "*"
    first, last = numbers[0], numbers[-1]
    if (step := wording.step_of(index, numbers)) and step > 1:
        return f"{first}/{step}"
    if len(numbers) > 2 and last - first == len(numbers) - 1:
        return f"{first}-{last}"
    return ",".join(map(str, numbers))


def _days(numbers: list[list[int]]) -> tuple[str, str]:
    """Day of month and of week; one of them is always a question mark."""
    if wording.is_all(wording.WEEKDAY, numbers[wording.WEEKDAY]):
        return _field(wording.DAY, numbers[wording.DAY]), "?"
    # By name: AWS counts from 1, the first day being Sunday.
    return "?", ",".join(_DAYS_OF_WEEK[number] for number in numbers[wording.WEEKDAY])


def _special_days(target: str, expression: str) -> tuple[str, str] | None:
    """Those with L and #, which AWS has as well; None if there are none."""
    _, _, day, _, weekday = expression.split()
    if not re.search("[L#]", day + weekday):
        return None
    days, weekdays = values(wording.DAY, day), values(wording.WEEKDAY, weekday)
    if days == {LAST} and weekday == "*":
        return "L", "?"
    if day == "*" and len(weekdays) == 1:
        (found,) = weekdays
        if isinstance(found, tuple):
            number, nth = found[0] % len(_DAYS_OF_WEEK) + 1, found[1]
            return "?", f"{number}L" if nth == LAST else f"{number}#{nth}"
    raise CannotSay(target, f"of L and # it has one at a time, and not LW ({day!r}, {weekday!r})")


def _schedule(item: Item, owner: str) -> dict[str, Any]:
    said = item.fields
    target = {
        "Arn": said["target"], "RoleArn": said["role"], "Input": said["input"],
        "RetryPolicy": {
            "MaximumEventAgeInSeconds": said["max_event_age"], "MaximumRetryAttempts": said["max_retry_attempts"]
        },
    }  # fmt: skip
    if said["dead_letter"]:
        target["DeadLetterConfig"] = {"Arn": said["dead_letter"]}
    if said["event"]:
        target["EventBridgeParameters"] = {"DetailType": said["event"], "Source": "taskyard"}
    return {
        "Description": wording.marked(item, owner), "State": said["state"],
        "ScheduleExpression": said["expression"], "ScheduleExpressionTimezone": said["timezone"],
        "FlexibleTimeWindow": {"Mode": said["flexible_window"]},
        "ActionAfterCompletion": said["after_completion"], "Target": target,
    }  # fmt: skip


def _fields(there: Mapping[str, Any], description: str) -> dict[str, Any]:
    """As :meth:`AwsEventBridgeScheduler.translate` says it."""
    target, window = there["Target"], there["FlexibleTimeWindow"]
    retries = target.get("RetryPolicy", {})
    return {
        "expression": there["ScheduleExpression"], "timezone": there.get("ScheduleExpressionTimezone", "UTC"),
        "state": there.get("State", "ENABLED"),
        "flexible_window": f"{window['Mode']} {window.get('MaximumWindowInMinutes', '')}".rstrip(),
        "after_completion": there.get("ActionAfterCompletion", "NONE"),
        "target": target["Arn"], "role": target["RoleArn"], "input": target.get("Input", ""),
        "event": target.get("EventBridgeParameters", {}).get("DetailType", ""),
        "max_event_age": retries.get("MaximumEventAgeInSeconds", 86_400),
        "max_retry_attempts": retries.get("MaximumRetryAttempts", 185),
        "dead_letter": target.get("DeadLetterConfig", {}).get("Arn", ""),
        "rest": wording.rest_of(there, _KNOWN) + wording.rest_of(target, _KNOWN_OF_TARGET),
        "description": description,
    }  # fmt: skip


@contextmanager
def _failing(target: str, key: str = "") -> Iterator[None]:
    with wording.library("aws"):
        from botocore.exceptions import BotoCoreError, ClientError
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise TargetFailed(target, key, str(error)) from error
