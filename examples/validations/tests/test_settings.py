"""V10: what the environment says, and what holds in every place."""

import os
import runpy
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from taskyard.celery import get_app


def settings_with(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    for name in ("REDIS_URL", "CELERY_WORKER_CONCURRENCY", "APP_ROLE", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path("config/settings.py")


def test_without_an_environment_it_works_on_its_database_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings_with(monkeypatch)
    assert "CELERY_BROKER_URL" not in found
    assert (found["CELERY_WORKER_CONCURRENCY"], found["APP_ROLE"]) == (1, "worker")


def test_the_environment_says_where_the_broker_is_and_how_much_runs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings_with(monkeypatch, REDIS_URL="redis://cache:6379/1", CELERY_WORKER_CONCURRENCY="3")
    assert (found["CELERY_BROKER_URL"], found["CELERY_WORKER_CONCURRENCY"]) == ("redis://cache:6379/1", 3)


def test_an_unknown_role_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="'beat'; it may be web, worker or scheduler"):
        settings_with(monkeypatch, APP_ROLE="beat")


@pytest.mark.parametrize(
    ("role", "words"), [("web", "runserver"), ("worker", "taskyard worker"), ("scheduler", "taskyard scheduler")]
)
def test_a_process_becomes_what_its_role_says(
    role: str, words: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[str] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: became.extend(arguments))
    settings.APP_ROLE = role
    call_command("start")
    assert " ".join(became).startswith(f"{sys.executable} {sys.argv[0]} {words}")


def test_limits_and_acknowledgement_are_celerys_own_settings(run: Any) -> None:
    conf = get_app().conf
    assert (conf.task_soft_time_limit, conf.task_time_limit) == (25 * 60, 30 * 60)
    assert (conf.task_acks_late, conf.task_track_started, conf.worker_concurrency) == (True, True, 1)


def test_without_a_result_backend_the_row_still_says_how_it_ended(run: Any) -> None:
    assert get_app().conf.result_backend is None
    job = run("clean-sessions")
    assert (job.state, job.result, job.progress_message) == ("succeeded", None, "0 found, 0 done, 0 failed")
    assert job.started_at is not None
