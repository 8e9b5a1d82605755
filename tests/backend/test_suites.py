"""The tests of Django's own tasks, run against our backend, which stands in the place of theirs.

They come from the source distribution of the Django that is installed. That of ``django-tasks`` has none: there they
are those of the Django it was taken into, with its names for things.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import django
import pytest

from tests.sources import extract, fetched, verdicts

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = """
SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "taskyard", *{apps}]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
TASKS = {{"default": {{"BACKEND": "doubles.Dummy"}}}}
"""
IS_BACKPORT = django.VERSION < (6, 0)
THEIRS = "django_tasks" if IS_BACKPORT else "django.tasks"
SOURCE = f"Django=={'6.0.10' if IS_BACKPORT else django.__version__}"
#: Regular expressions, in this order.
CHANGES = {
    r"django\.tasks": THEIRS,
    rf"{THEIRS}\.backends\.(immediate|dummy) import (Immediate|Dummy)Backend": r"doubles import \2 as \2Backend",
    rf"{THEIRS}\.backends\.(immediate|dummy)\.(Immediate|Dummy)Backend": r"doubles.\2",
    # A job is a row.
    "SimpleTestCase": "TestCase",
    **({r"\bInvalidTask(Backend)?\b": r"InvalidTask\1Error", "async Tasks": "async tasks"} if IS_BACKPORT else {}),
}
_MORE = "asserts that their backend cannot do this; ours can"
_LOOP = "calls the synchronous method in an event loop, where Django refuses database work; the asynchronous one works"
_ROW = "changes the result that their backend keeps in memory; ours reads the row"
#: Tests of theirs that must fail here, and the reason.
DEVIATIONS = {
    "ImmediateBackendTestCase::test_cannot_get_result": _MORE,
    "ImmediateBackendTestCase::test_cannot_refresh_result": _MORE,
    "ImmediateBackendTestCase::test_cannot_pass_run_after": _MORE,
    "ImmediateBackendTransactionTestCase::test_doesnt_wait_until_transaction_commit_by_default": (
        "asserts that a task runs before the transaction it was enqueued in commits"
    ),
    "DummyBackendTestCase::test_refresh_result": _ROW,
    "DummyBackendTestCase::test_refresh_result_async": _ROW,
    "DummyBackendTestCase::test_get_missing_result": _LOOP,
    "TaskTestCase::test_get_missing_result": _LOOP,
    "TaskTestCase::test_refresh_result": _LOOP,
}
if sys.version_info < (3, 12):
    DEVIATIONS["CustomBackendTestCase::test_no_enqueue"] = "asserts what Python 3.12 says of an abstract class"


def lay_out(archive: Path, folder: Path) -> None:
    """Their tests with our backend, and the project these run in."""
    extract(archive, "tests/tasks/", folder)
    (folder / "tests" / "tasks").rename(folder / "tasks")
    for file in (folder / "tasks").glob("*.py"):
        text = file.read_text()
        for old, new in CHANGES.items():
            text = re.sub(old, new, text)
        file.write_text(text)
    (folder / "doubles.py").write_bytes(Path(__file__).with_name("doubles.py").read_bytes())
    (folder / "suite_settings.py").write_text(SETTINGS.format(apps=["django_tasks"] if IS_BACKPORT else []))
    (folder / "pytest.ini").write_text("[pytest]\nDJANGO_SETTINGS_MODULE = suite_settings\n")


@pytest.mark.timeout(300)
def test_their_suite_passes_but_for_what_differs_on_purpose(
    tmp_path: Path, pytestconfig: pytest.Config, record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lay_out(fetched(SOURCE, pytestconfig), tmp_path)
    report = tmp_path / "report.xml"
    suite = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-p", "no:randomly", "--no-migrations", "--timeout=60",
         "--import-mode=prepend", f"--junitxml={report}", "--tb=short", "tasks"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "suite_settings"},
    )  # fmt: skip
    said = suite.stdout + suite.stderr
    assert report.exists(), said
    ends = verdicts(report)
    counts = {end: list(ends.values()).count(end) for end in ("passed", "failed", "skipped")}
    with capsys.disabled():
        print(f"\n  {THEIRS}, tests of {SOURCE}: {counts}", end="")
    record_property(THEIRS, counts)
    assert {name for name, end in ends.items() if end == "failed"} == set(DEVIATIONS), said
    assert counts["passed"] >= 60, said
