"""The demo, as `make demo` runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import taskyard


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Neither settings nor a project, and a temporary folder of its own."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "CELERY_", "TASKYARD_"))
    }
    return {**kept, "PYTHONPATH": str(Path(taskyard.__file__).parent.parent), "TMPDIR": str(tmp_path)}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Files to index, large enough to be found at work on one; two of them in an encoding that is not UTF-8."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03}.txt").write_text("mouse and cat\n" * (number + 1) * 200)
    for name in ("latin", "greek"):
        (folder / f"{name}.txt").write_bytes(b"caf\xe9 \xff")
    return folder


def demo(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "taskyard", "demo", *words]
    return subprocess.run(
        command, cwd=environment["TMPDIR"], env=environment, capture_output=True, text=True, timeout=110, check=False
    )


def projects(environment: dict[str, str]) -> list[Path]:
    return sorted(Path(environment["TMPDIR"]).glob("taskyard-demo-*"))


@pytest.mark.slow
def test_the_check_survives_a_killed_worker_and_prints_one_json_object(
    environment: dict[str, str], texts: Path
) -> None:
    done = demo(environment, "--check", "--path", str(texts))

    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert set(verdict) == {"enqueued", "succeeded", "failed", "retried", "lost", "duplicated", "seconds"}
    assert (verdict["enqueued"], verdict["succeeded"], verdict["failed"]) == (123, 121, 2)
    assert (verdict["lost"], verdict["duplicated"]) == (0, 0)
    # Both bad files, and at least one job the kill interrupted.
    assert verdict["retried"] >= 3, done.stderr
    assert "kill -9" in done.stderr
    assert projects(environment) == []


def test_the_demo_shows_failures_and_leaves_a_project_to_look_at(environment: dict[str, str], texts: Path) -> None:
    done = demo(environment, "--path", str(texts), "--files", "10")

    assert done.returncode == 0, done.stderr
    for heading in ("Slowest files", "Where to look next"):
        assert heading in done.stdout
    (project,) = projects(environment)
    assert str(project) in done.stdout
    command = [sys.executable, "manage.py", "taskyard", "status", "--json"]
    status = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
    assert sum(json.loads(status.stdout)["ended_last_hour"].values()) == 11


def test_a_folder_that_does_not_exist_is_bad_usage(environment: dict[str, str]) -> None:
    done = demo(environment, "--path", "/nowhere/at/all")

    assert done.returncode == 2
    assert "not a folder" in done.stderr
    assert projects(environment) == []
