"""The test kit as a project uses it: real runs of pytest and of ``manage.py test``, in a project of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "testing.md"

SETTINGS = """
import pathlib
BASE_DIR = pathlib.Path(__file__).parent
SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "taskyard", "shop"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3",
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"},
    "TEST": {"NAME": BASE_DIR / "test.sqlite3"},
}}
TASKYARD = {"TENANCY": "rows"}
"""

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""

#: Beside the examples of the page.
FIXTURES = """
import pytest
from django.db import connection
from shop.tasks import rename
from taskyard.tenancy import current_tenant


@pytest.mark.parametrize("name", ["acme", "globex"])
def test_as_each_tenant(name, taskyard_tenant, taskyard_jobs):
    taskyard_tenant(name)
    rename.enqueue(7, "Ada")
    taskyard_jobs.assert_enqueued(rename, tenant=name)


def test_it_is_over():
    assert current_tenant() == ""


def test_a_failure_tells(taskyard_jobs):
    rename.enqueue(7, "Ada")
    taskyard_jobs.assert_enqueued(rename, {"user_id": 8})


def test_a_worker_has_real_transactions(taskyard_worker, taskyard_jobs):
    assert not connection.in_atomic_block


def test_a_tenant_is_left_behind(taskyard_tenant):
    from taskyard.tenancy import set_tenant

    taskyard_tenant("acme")
    set_tenant("globex")
"""

CASES = """
import datetime as dt

from django.contrib.auth.models import User
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from shop.tasks import rename, sign_up
from taskyard.schedules import Every, Schedule
from taskyard.testing import TaskyardTestMixin

HOUR = dt.timedelta(hours=1)


class InATestCase(TaskyardTestMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = User.objects.create(username="ada")

    def test_enqueued_and_run(self):
        job = rename.enqueue(self.user.pk, "Ada", fail_first=True)
        self.assert_enqueued(rename, {"name": "Ada"}, count=1)
        self.run_jobs()
        self.assertEqual(self.assert_state(job, "succeeded").attempt, 2)
        self.user.refresh_from_db()
        self.assertEqual(self.user.first_name, "Ada")

    def test_the_table_is_empty_again(self):
        self.assert_not_enqueued()

    def test_twice(self):
        self.assert_idempotent(rename, {"user_id": self.user.pk, "name": "Ada"})

    @override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_EAGER_PROPAGATES=True)
    def test_a_bare_override(self):
        self.assert_state(sign_up.enqueue("bob"), "succeeded")

    def test_a_clock(self):
        clock = self.start_clock(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        Schedule.objects.define(name="hourly", task=rename, recurrence=Every(HOUR), args=[self.user.pk, "A"])
        self.assertEqual(len(clock.travel(5 * HOUR)), 5)

    def test_time_is_real_again(self):
        self.assertNotEqual(timezone.now(), timezone.now())

    def test_as_a_tenant(self):
        self.become_tenant("acme")
        self.assertEqual(rename.enqueue(1, "Ada").tenant, "acme")

    def test_this_one_fails(self):
        self.assert_enqueued(rename)


class BesideAWorker(TaskyardTestMixin, TransactionTestCase):
    def test_a_worker(self):
        worker = self.start_worker()
        self.assertEqual(worker.wait_for(sign_up.enqueue("ada"), "succeeded").result, User.objects.get().pk)
"""

#: What was imported by the time that tests have been collected.
COLLECTED = """
import sys

def pytest_collection_finish(session):
    loaded = [name for name in ("celery", "kombu", "taskyard.models", "taskyard.jobs.models") if name in sys.modules]
    print("LOADED", loaded, "plugin", "taskyard.testing.plugin" in sys.modules)
"""


def blocks(kind: str) -> list[str]:
    found = re.findall(rf"^```python {kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [str(block) for block in found]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project with one app, whose tasks are those of the page."""
    app = tmp_path / "shop"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "tasks.py").write_text(blocks("run")[0])
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "manage.py").write_text(MANAGE)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "TASKYARD_", "PYTEST_"))
    }
    return subprocess.run(
        [sys.executable, "-W", "error", *words], cwd=folder, env={**kept, "PYTHONPATH": str(folder)},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "pytest", "-p", "no:valkey", "-p", "no:cacheprovider", "--ds", "settings", "-v", *words)


def test_the_pages_examples_and_every_fixture_run_under_pytest(shop: Path) -> None:
    examples = blocks("pytest")
    assert len(examples) >= 7
    for number, block in enumerate(examples):
        (shop / f"test_page_{number}.py").write_text(block)
    (shop / "test_fixtures.py").write_text(FIXTURES)
    done = run_pytest(shop)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", done.stdout, re.MULTILINE))
    assert failed == {"test_a_failure_tells", "test_a_tenant_is_left_behind"}, said
    assert "shop.rename(user_id=8) was not enqueued." in said
    assert "shop.rename(7, 'Ada')  queue=celery  pending" in said
    assert "ended as 'globex'" in said
    wanted = sum(block.count("def test_") for block in (*examples, FIXTURES)) + 1
    assert len(re.findall(r"(?:PASSED|FAILED|ERROR) +\[", done.stdout)) == wanted + 1, said


def test_the_mixin_runs_under_djangos_runner(shop: Path) -> None:
    (shop / "shop" / "tests.py").write_text(CASES)
    done = run(shop, "manage.py", "test", "--shuffle")
    assert re.findall(r"^(?:FAIL|ERROR): (\w+)", done.stderr, re.MULTILINE) == ["test_this_one_fails"], done.stderr
    assert "Nothing was enqueued in this test." in done.stderr
    assert f"Ran {CASES.count('def test_')} tests" in done.stderr


def test_a_project_without_django_collects_its_tests_without_loading_any_of_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(COLLECTED)
    (tmp_path / "test_plain.py").write_text("def test_it(): pass\n")
    done = run(tmp_path, "-m", "pytest", "-p", "no:valkey", "-p", "no:cacheprovider", "-p", "no:django", "-s")
    assert (done.returncode, "LOADED [] plugin True" in done.stdout) == (0, True), done.stdout + done.stderr
