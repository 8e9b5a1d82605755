"""``TASKYARD = {...}``: what is accepted, and the sentences when it is not."""

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from taskyard.errors import ConfigurationError
from taskyard.settings import DEFAULT_RETENTION, Settings, get_settings, parse

DATABASES = {"default": {}, "jobs": {}}


def test_nothing_needs_to_be_set() -> None:
    assert parse({}, DATABASES) == Settings()


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("DATABASE", "jobs", "jobs"),
        ("QUEUES", ["high", "low"], {"high": "high", "low": "low"}),
        ("QUEUES", {"high": "prod-high"}, {"high": "prod-high"}),
        ("HANDOVER", ["billing"], ("billing",)),
        ("MAX_PAYLOAD_BYTES", 1, 1),
        ("CLOSE_CONNECTIONS", True, True),
        ("SHUTDOWN_GRACE", dt.timedelta(0), dt.timedelta(0)),
        ("RETENTION", {"failed": None}, {**DEFAULT_RETENTION, "failed": None}),
    ],
)
def test_a_setting_is_read(key: str, value: Any, read: Any) -> None:
    assert getattr(parse({key: value}, DATABASES), key.lower()) == read


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"QEUES": []}, "'QEUES' is not a setting. Did you mean 'QUEUES'?"),
        ({"queues": []}, "'queues' is not a setting. Did you mean 'QUEUES'?"),
        ({"XYZZY": 1}, "'XYZZY' is not a setting."),
        ({7: 1}, "7 is not a setting."),
        ({"QUEUES": "high"}, "QUEUES must be a list of names"),
        ({"QUEUES": [1]}, "QUEUES must be a list of names"),
        ({"HANDOVER": "billing"}, "HANDOVER must be a list of names"),
        ({"MAX_PAYLOAD_BYTES": 0}, "MAX_PAYLOAD_BYTES must be a whole number above zero; it is 0."),
        ({"MAX_PAYLOAD_BYTES": True}, "MAX_PAYLOAD_BYTES must be a whole number"),
        ({"MAX_PAYLOAD_BYTES": "1"}, "MAX_PAYLOAD_BYTES must be a whole number"),
        ({"SHUTDOWN_GRACE": 25}, "SHUTDOWN_GRACE must be a timedelta that is not negative"),
        ({"SHUTDOWN_GRACE": dt.timedelta(seconds=-1)}, "SHUTDOWN_GRACE must be a timedelta"),
        ({"AGENTS": "yes"}, "AGENTS must be True or False; it is 'yes'."),
        ({"CELERY_APP": None}, "CELERY_APP must be a string"),
        ({"RETENTION": {"done": None}}, "RETENTION must be a dict with some of the keys"),
        ({"RETENTION": {"failed": 30}}, "RETENTION must be timedelta or None for each state"),
        ({"CRONTABS": "crontab"}, "CRONTABS must be a list of paths"),
        ({"CRONTABS": [b"crontab"]}, "CRONTABS must be a list of paths"),
        ({"CRONTAB_LOGS": 3}, "CRONTAB_LOGS must be a path"),
        ({"CRONTAB_PLUGINS": [3]}, "CRONTAB_PLUGINS must be a list of names"),
        ({"CRONTAB_PLUGINS": "no.such"}, "CRONTAB_PLUGINS must be the dotted path of a callable"),
        ({"DATABASE": "other"}, "DATABASE names 'other', which DATABASES does not define."),
    ],
)
def test_what_cannot_work_is_told_with_the_setting_and_what_it_takes(raw: dict[Any, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(raw, DATABASES)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)


def test_the_queue_of_crontab_files_is_there_where_queues_are_listed() -> None:
    assert list(parse({"QUEUES": ["high"], "CRONTABS": [Path("crontab")]}, DATABASES).queues) == ["high", "crontab"]
    assert list(parse({"QUEUES": ["high"]}, DATABASES).queues) == ["high"]
    assert list(parse({"CRONTABS": ["crontab"]}, DATABASES).queues) == []
    named = parse({"QUEUES": {"low": "l"}, "CRONTABS": ["crontab"], "CRONTAB_QUEUE": "low"}, DATABASES)
    assert named.queues == {"low": "l"}


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse({"QEUES": [], "AGENTS": 1, "DATABASE": "other", "HEARTBEAT": 5}, DATABASES)
    assert len(caught.value.problems) == 4
    assert all(problem in str(caught.value) for problem in caught.value.problems)


def test_settings_are_read_again_after_a_change_and_cannot_be_changed_in_place() -> None:
    with override_settings(TASKYARD={"MAX_PAYLOAD_BYTES": 7}):
        assert get_settings().max_payload_bytes == 7
    assert get_settings().max_payload_bytes == Settings().max_payload_bytes
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_settings().database = "other"  # type: ignore[misc]


@override_settings(TASKYARD=["QUEUES"])
def test_settings_that_are_no_dict_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="TASKYARD must be a dict"):
        get_settings()
