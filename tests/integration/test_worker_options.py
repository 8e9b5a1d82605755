"""What ``taskyard worker`` makes of its options and of the settings, before Celery's worker takes over."""

import io
from typing import Any

import pytest

from taskyard.celery import get_app
from taskyard.entrypoint import cli
from taskyard.entrypoint.commands.processes import _worker_commands
from taskyard.entrypoint.screen import Screen

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("setting", "options", "level"),
    [("DEBUG", [], "DEBUG"), ("DEBUG", ["-l", "error"], "error"), (None, [], None), (None, ["-l", "info"], "info")],
)
def test_how_much_a_worker_logs_is_a_setting_apart_from_djangos(
    settings: Any, monkeypatch: pytest.MonkeyPatch, setting: str | None, options: list[str], level: str | None
) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(get_app(), "start", given.append)
    if setting:
        settings.CELERY_LOGGING_LEVEL = setting
    out = io.StringIO()
    assert cli.run(["worker", *options], prog="taskyard", has_project=True, screen=Screen(out, out)) == 0, out
    said = [word.partition("=")[2] for word in given[0] if word.startswith("--loglevel")]
    assert said == [level] * (level is not None)


def test_a_level_that_is_none_is_said(settings: Any) -> None:
    settings.CELERY_LOGGING_LEVEL = "chatty"
    out = io.StringIO()
    assert cli.run(["worker"], prog="taskyard", has_project=True, screen=Screen(out, out)) != 0
    assert "'CHATTY' is not one of 'DEBUG'" in out.getvalue()


def test_workers_of_up_talk_unless_a_setting_says_how_much(settings: Any) -> None:
    [(_, quiet_ones)] = _worker_commands([])
    settings.CELERY_LOGGING_LEVEL = "WARNING"
    [(_, silent)] = _worker_commands(["high:2"])
    assert [words[words.index("-l") + 1] for words in (quiet_ones, silent)] == ["info", "WARNING"]
