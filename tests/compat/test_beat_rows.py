"""Rows of django-celery-beat as a target, with the real package: it caps Django, so it is installed without asking it.

In a process of its own: the package is an installed app there.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_rows_of_django_celery_beat_follow_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.compat.beat_rows"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
