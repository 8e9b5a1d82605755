"""System checks, by id."""

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import ERROR, WARNING, run_checks
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from taskyard import checks
from taskyard.celery import get_app
from taskyard.celery.worker.consumer import Consumer
from taskyard.checks import register
from taskyard.errors import ConfigurationError
from taskyard.models import Worker
from taskyard.monitoring.diagnosis import database
from taskyard.settings import get_settings


@pytest.fixture(autouse=True)
def nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks of the tests do what they should not."""
    monkeypatch.setattr("taskyard.checks.source.findings.roots", lambda: ())


#: What is said of the tests' own tasks, some of which are bad on purpose.
_OF_SOURCE = {f"taskyard.W{number:03}" for number in (*range(4, 15), 19, 20)}


def _ids(**options: Any) -> list[str]:
    found = [str(message.id) for message in run_checks(tags=[checks.TAG], **options)]
    return [one for one in found if one not in _OF_SOURCE]


def test_every_problem_of_the_settings_is_one_error() -> None:
    with override_settings(TASKYARD={"QUEUS": [], "WINDOW_MAX": 0}):
        found = [message for message in run_checks(tags=[checks.TAG]) if message.id not in _OF_SOURCE]

    assert [message.id for message in found] == ["taskyard.E001", "taskyard.E001"]
    assert "Did you mean 'QUEUES'?" in found[0].msg


def test_apps_that_are_made_ready_again_are_checked_once() -> None:
    register()
    with override_settings(TASKYARD={"QUEUS": []}):
        assert _ids() == ["taskyard.E001"]


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any) -> Iterator[Callable[..., None]]:
    """Puts the jobs into a SQLite file with the given options."""

    def use(**options: str) -> None:
        entry = {**connections.databases["default"], "ENGINE": "django.db.backends.sqlite3", "OPTIONS": options}
        monkeypatch.setitem(connections.databases, "small", {**entry, "NAME": str(tmp_path / "small.sqlite3")})

    with django_db_blocker.unblock():
        monkeypatch.setattr(settings, "TASKYARD", {"DATABASE": "small"})
        get_settings.cache_clear()
        yield use
        connections["small"].close()
        del connections["small"]
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("mode", "expected"), [("", ["taskyard.W001"]), ("DEFERRED", ["taskyard.W001"]), ("IMMEDIATE", [])]
)
def test_sqlite_must_take_its_write_lock_early(sqlite: Callable[..., None], mode: str, expected: list[str]) -> None:
    sqlite(init_command="PRAGMA journal_mode=WAL;", **({"transaction_mode": mode} if mode else {}))

    assert _ids() == expected


@pytest.mark.parametrize(("journal", "expected"), [("DELETE", ["taskyard.W002"]), ("WAL", [])])
def test_sqlite_must_keep_a_write_ahead_log(sqlite: Callable[..., None], journal: str, expected: list[str]) -> None:
    sqlite(transaction_mode="IMMEDIATE", init_command=f"PRAGMA journal_mode={journal};")

    assert _ids(databases=["small"]) == expected


def test_workers_on_two_hosts_cannot_share_a_file(sqlite: Callable[..., None]) -> None:
    sqlite(transaction_mode="IMMEDIATE", init_command="PRAGMA journal_mode=WAL;")
    now = timezone.now()

    def start(host: str, heartbeat_at: dt.datetime) -> None:
        about = {"name": f"celery@{host}", "pid": 1, "started_at": now, "heartbeat_at": heartbeat_at}
        Worker.objects.using("small").create(id=uuid.uuid4(), host=host, **about)

    with connections["small"].schema_editor() as editor:
        editor.create_model(Worker)
    start("one", now)
    start("one", now)
    start("long-gone", now - dt.timedelta(hours=1))
    assert _ids(databases=["small"]) == []
    start("two", now)
    assert _ids(databases=["small"]) == ["taskyard.W018"]
    assert [finding.name for finding in database.sqlite() if finding.level == "fail"] == ["sqlite hosts"]
    assert _ids(databases=["default"]) == []
    assert [message.level for message in run_checks(tags=[checks.TAG], databases=["small"])] == [WARNING]
    deploying = run_checks(tags=[checks.TAG], databases=["small"], include_deployment_checks=True)
    assert [message.level for message in deploying] == [ERROR]


@pytest.mark.django_db
def test_pickle_is_an_error_and_no_worker_starts_with_it() -> None:
    app = get_app()
    accepted = app.conf.accept_content
    assert "taskyard.E002" not in _ids()
    try:
        for name in ("pickle", "application/x-python-serialize"):
            app.conf.accept_content = ["json", name]
            assert "taskyard.E002" in _ids()
            with pytest.raises(ConfigurationError, match="would accept pickle"):
                Consumer(None, app=app, hostname="w@host", controller=SimpleNamespace(use_eventloop=False))
    finally:
        app.conf.accept_content = accepted
