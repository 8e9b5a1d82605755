"""System checks, by id."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.db import connections
from django.test import override_settings

from taskyard import checks
from taskyard.celery import get_app
from taskyard.celery.worker.consumer import Consumer
from taskyard.errors import ConfigurationError
from taskyard.settings import get_settings


def _ids(**options: Any) -> list[str]:
    return [str(message.id) for message in run_checks(tags=[checks.TAG], **options)]


def test_every_problem_of_the_settings_is_one_error() -> None:
    with override_settings(TASKYARD={"QUEUS": [], "WINDOW_MAX": 0}):
        found = run_checks(tags=[checks.TAG])

    assert [message.id for message in found] == ["taskyard.E001", "taskyard.E001"]
    assert "Did you mean 'QUEUES'?" in found[0].msg


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
