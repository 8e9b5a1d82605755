"""Words of the command line."""

import argparse
import datetime as dt
import subprocess
import sys
import uuid

import pytest

from taskyard.entrypoint import arguments, cli
from taskyard.entrypoint.failures import UsageError


@pytest.mark.parametrize(
    ("text", "length"),
    [("90s", dt.timedelta(seconds=90)), ("1.5h", dt.timedelta(minutes=90)), ("2w", dt.timedelta(days=14))],
)
def test_lengths_are_a_number_and_a_unit(text: str, length: dt.timedelta) -> None:
    assert arguments.length(text) == length


@pytest.mark.parametrize("text", ["", "30", "d30", "-1d", "5 years"])
def test_what_is_no_length_is_refused_with_examples(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="30d"):
        arguments.length(text)


def test_since_takes_a_date_in_utc_or_a_length_before_now() -> None:
    assert arguments.since("2026-01-31") == dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
    assert arguments.since("2026-01-31T08:00+02:00") == dt.datetime(2026, 1, 31, 6, tzinfo=dt.UTC)
    two_hours_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)
    assert abs(arguments.since("2h") - two_hours_ago) < dt.timedelta(seconds=5)
    with pytest.raises(argparse.ArgumentTypeError, match="2026-01-31"):
        arguments.since("yesterday")


def test_an_id_is_taken_as_taskyard_or_as_celery_spells_it() -> None:
    one = uuid.uuid4()
    assert arguments.one_id(str(one)) == one
    assert arguments.one_id("report-17") == arguments.one_id("report-17")


def test_steering_takes_ids_or_a_filter_and_not_both() -> None:
    some_id = str(uuid.uuid4())
    assert arguments.chosen_ids(cli.parse(["jobs", "retry", some_id], "t")) == [uuid.UUID(some_id)]
    assert arguments.chosen_ids(cli.parse(["jobs", "retry", "--state", "failed"], "t")) == []
    for words in ([], [some_id, "--state", "failed"]):
        with pytest.raises(UsageError):
            arguments.chosen_ids(cli.parse(["jobs", "retry", *words], "t"))


def test_only_the_worker_hands_unknown_options_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.parse(["worker", "-Q", "high", "--max-tasks-per-child=5"], "t").rest == ["--max-tasks-per-child=5"]
    with pytest.raises(SystemExit) as end:
        cli.parse(["status", "--max-tasks-per-child=5"], "t")
    assert end.value.code == 2
    assert "--max-tasks-per-child" in capsys.readouterr().err


def test_every_reading_command_takes_json() -> None:
    reading = (["status"], ["doctor"], ["tasks", "list"], ["queues", "list"], ["jobs", "list"], ["jobs", "show", "x"])
    for words in (*reading, ["jobs", "tail"], ["jobs", "prune", "--dry-run"], ["jobs", "retry", "x"], ["demo"]):
        assert cli.parse([*words, "--json"], "t").json is True


@pytest.mark.parametrize(("words", "offered"), [([], "doctor"), (["failures"], "snooze")])
def test_whoever_leaves_out_what_to_do_is_told_what_there_is(
    words: list[str], offered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.parse(words, "taskyard")

    assert end.value.code == 2
    assert offered in capsys.readouterr().err


def test_all_words_are_known_before_there_are_settings() -> None:
    # In a process of its own: here Django has loaded its apps.
    said = "from taskyard.entrypoint.cli import build_parser; build_parser('taskyard')"
    subprocess.run([sys.executable, "-c", said], check=True, env={}, timeout=60)
