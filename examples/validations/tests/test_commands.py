"""V6: every scheduled task is a management command as well."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from housekeeping.command import TaskCommand
from validations.models import Submission

from taskyard.models import Job
from taskyard.schedules.sources.code import declared


def of_tasks() -> dict[str, str]:
    """Command by task."""
    commands = {name: load_command_class(app, name) for name, app in get_commands().items() if "." not in str(app)}
    return {each.task.name: name for name, each in commands.items() if isinstance(each, TaskCommand)}


def said(command: str, *words: str) -> str:
    out = io.StringIO()
    call_command(command, *words, stdout=out)
    return out.getvalue().strip()


def test_each_scheduled_task_has_its_command_under_a_name_of_its_own() -> None:
    assert {each.definition.task for each in declared().values()} == of_tasks().keys()
    assert of_tasks()["housekeeping.mark_hung_runs_failed"] == "fail_hung_runs"


def test_each_command_counts_with_dry_run_and_makes_no_job() -> None:
    for command in of_tasks().values():
        assert said(command, "--dry-run").endswith(" found"), command
    assert not Job.objects.exists()


def test_its_arguments_reach_the_task(make: Any) -> None:
    for _ in range(3):
        make.submission()
    assert said("purge_expired_submissions", "--dry-run", "--all") == "3 found"
    assert Submission.objects.filter(purged_at=None).count() == 3
    assert said("purge_expired_submissions", "--batch-size", "1") == "1 found, 1 done, 0 failed"
    assert said("purge_expired_submissions", "--batch-size", "1", "--all") == "2 found, 2 done, 0 failed"


def test_it_says_what_failed_and_refuses_what_cannot_be_meant(make: Any) -> None:
    make.stuck(make.submission())
    with pytest.raises(CommandError, match="1 failed") as caught:
        said("purge_expired_submissions")
    assert caught.value.returncode == 1
    with pytest.raises(CommandError, match="at least 1") as caught:
        said("purge_expired_submissions", "--batch-size", "0")
    assert caught.value.returncode == 2
