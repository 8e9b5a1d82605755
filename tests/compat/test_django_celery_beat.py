"""Rows of django-celery-beat as a target, with the real package: it caps Django, so it is put beside, not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("django-celery-beat", "django-timezone-field", "cron-descriptor", "python-crontab")


@pytest.mark.verify
def test_rows_of_django_celery_beat_follow_the_code(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", str(tmp_path), *PACKAGES], check=True, timeout=120)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.compat.beat_rows"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
