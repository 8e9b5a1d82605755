"""django-celery-beat's own scheduler tests, run against our class in the place of theirs.

They come from its source distribution. The package itself is installed without dependencies, because it caps Django
(tests/compat/packages.txt).
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sources import extract, fetched, verdicts

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ROOT / "tests" / "compat" / "packages.txt"
SETTINGS = """
from t.proj.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "taskyard"]
DATABASES["default"]["NAME"] = ":memory:"
"""

_HEAP = "there is no heap: what is due stands in an index, and every due entry is sent in one tick"
#: Tests of theirs that must fail here, and the safer behaviour that is the reason.
DEVIATIONS = {
    "test_DatabaseScheduler::test_all_as_schedule": (
        "asserts that crontabs two hours away and more are not loaded; a run that is missed then comes early, and twice"
    ),
    "test_DatabaseScheduler::test_heap_size_is_constant": _HEAP,
    "test_DatabaseScheduler::test_starttime_trigger": _HEAP,
    "test_DatabaseScheduler::test_crontab_with_start_time_tick": _HEAP,
    "test_DatabaseScheduler::test_heap_always_return_the_first_item": f"{_HEAP}; it fails with Celery 5.7 itself, too",
}


def lay_out(archive: Path, folder: Path) -> None:
    """Their tests, and the project these run in."""
    extract(archive, "t/", folder)
    (folder / "beat_settings.py").write_text(SETTINGS)
    (folder / "pytest.ini").write_text("[pytest]\npython_classes = test_*\nDJANGO_SETTINGS_MODULE = beat_settings\n")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_their_scheduler_tests_pass_but_for_what_is_safer_here(
    tmp_path: Path, pytestconfig: pytest.Config, record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lines = PACKAGES.read_text().splitlines()
    wanted = next(line.split()[0] for line in lines if line.startswith("django-celery-beat"))
    lay_out(fetched(wanted, pytestconfig), tmp_path)
    report = tmp_path / "report.xml"
    suite = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-p", "no:randomly", "-p", "tests.compat.beat_plugin",
         "--no-migrations", "--timeout=60", "--import-mode=prepend", f"--junitxml={report}", "--tb=short",
         "t/unit/test_schedulers.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
             "DJANGO_SETTINGS_MODULE": "beat_settings"},
    )  # fmt: skip
    said = suite.stdout + suite.stderr
    assert report.exists(), said
    ends = verdicts(report)
    counts = {end: list(ends.values()).count(end) for end in ("passed", "failed", "skipped")}
    with capsys.disabled():
        print(f"\n  django-celery-beat's schedulers: {counts}", end="")
    record_property("django-celery-beat", counts)
    assert {name for name, end in ends.items() if end == "failed"} == set(DEVIATIONS), said
    assert counts["passed"] >= 57, said
