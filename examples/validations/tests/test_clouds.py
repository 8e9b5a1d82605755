"""V3, V4: other clocks get the registry too, and call at the paths it declares."""

import datetime as dt
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from taskyard.integrations.trigger.signed_header import signature
from taskyard.models import Job
from taskyard.schedules import Schedule

KEY = "a key of thirty-two bytes or more, only for tests"


@pytest.fixture
def cloud(settings: Any) -> Any:
    """Calls for a due time, as a cloud's scheduler does that was given the key."""
    settings.TASKYARD = {"TRIGGER": {"KEYS": [KEY]}}
    # A cloud keeps the time here: there are no rows for schedulers of ours.
    Schedule.objects.all().delete()

    def call(name: str, due: str, key: str = KEY) -> Any:
        signed = signature(key, schedule=name, due=due, now=timezone.now())
        return Client().post(
            f"/tasks/{name}/", {"due_at": due}, "application/json", headers={"Taskyard-Signature": signed}
        )

    return call


def last_due() -> str:
    now = timezone.now()
    return (now - dt.timedelta(minutes=now.minute % 5, seconds=now.second, microseconds=now.microsecond)).isoformat()


def test_a_due_time_that_is_called_for_again_and_again_is_one_job(cloud: Any) -> None:
    due = last_due()
    answers = [cloud("retry-failed-purges", due) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {answer.json()["job"] for answer in answers} == {str(Job.objects.get().id)}
    assert Job.objects.get().state == "succeeded"


def test_whoever_has_not_the_key_learns_nothing_and_starts_nothing(cloud: Any) -> None:
    stranger = "the key of somebody else, just as long as ours"
    answers = [cloud("retry-failed-purges", last_due(), stranger), Client().post("/tasks/retry-failed-purges/")]
    assert [answer.status_code for answer in answers] == [403, 400]
    assert not Job.objects.exists()


def test_a_cron_file_gets_what_makes_sense_there_and_only_that(settings: Any, tmp_path: Path) -> None:
    settings.TASKYARD = {
        "SCHEDULE_OWNER": "validations",
        "SCHEDULE_TARGETS": {"crontab": {"path": str(tmp_path / "crontab"), "directory": str(tmp_path)}},
    }
    out = StringIO()
    with pytest.raises(CommandError, match="something is to be done"):
        call_command("sync_schedules", "--backend=crontab", "--dry-run", stdout=out)
    names = {line.split()[1] for line in out.getvalue().splitlines() if line.startswith("add")}
    assert "clean-sessions" in names
    assert "remove-orphaned-containers" not in names
    assert not (tmp_path / "crontab").exists()
