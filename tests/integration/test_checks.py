"""System checks, by id."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connections
from django.test import override_settings

from taskyard import checks


def _ids(**options: Any) -> list[str]:
    return [str(message.id) for message in run_checks(tags=[checks.TAG], **options)]


def test_every_problem_of_the_settings_is_one_error() -> None:
    with override_settings(TASKYARD={"QUEUS": [], "WINDOW_MAX": 0}):
        found = run_checks(tags=[checks.TAG])

    assert [message.id for message in found] == ["taskyard.E001", "taskyard.E001"]
    assert "Did you mean 'QUEUES'?" in found[0].msg


@pytest.mark.parametrize(
    ("mode", "expected"), [(None, ["taskyard.W001"]), ("DEFERRED", ["taskyard.W001"]), ("IMMEDIATE", [])]
)
def test_sqlite_must_take_its_write_lock_early(mode: str | None, expected: list[str]) -> None:
    connections.databases["small"] = {
        **connections.databases["default"],
        "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:",
        "OPTIONS": {"transaction_mode": mode} if mode else {},
    }  # fmt: skip
    try:
        with override_settings(TASKYARD={"DATABASE": "small"}, DATABASES=connections.databases):
            assert _ids() == expected
    finally:
        connections["small"].close()
        del connections["small"]
        del connections.databases["small"]


@pytest.mark.parametrize(("journal", "expected"), [("DELETE", ["taskyard.W002"]), ("WAL", [])])
def test_sqlite_must_keep_a_write_ahead_log(
    tmp_path: Any, journal: str, expected: list[str], django_db_blocker: Any
) -> None:
    connections.databases["small"] = {
        **connections.databases["default"],
        "ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "small.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": f"PRAGMA journal_mode={journal};"},
    }  # fmt: skip
    try:
        with (
            override_settings(TASKYARD={"DATABASE": "small"}, DATABASES=connections.databases),
            django_db_blocker.unblock(),
        ):
            assert _ids(databases=["small"]) == expected
            assert _ids() == []
    finally:
        connections["small"].close()
        del connections["small"]
        del connections.databases["small"]
