"""The project of these tests, its workers and its database."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import nursery, servers
from tests.servers import wait_until
from tests.workers import WorkerProcess

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = Path(__file__).resolve().parent / "project"


@contextmanager
def project(folder: Path, **more: str) -> Iterator[dict[str, str]]:
    """The environment of a migrated project with a broker of its own."""
    servers.require("postgres")
    with servers.fresh_database("postgres") as address, servers.fresh_redis() as broker:
        database = servers.django_database(address)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "test_app.settings",
            "COMPAT_DATABASE": json.dumps({**database, "TEST": {"NAME": database["NAME"]}}),
            "BROKER_URL": broker,
            **more,
        }
        if "COMPAT_BEAT" in environment:
            (folder / "beat_migrations").mkdir()
            (folder / "beat_migrations" / "__init__.py").touch()
            run(["-m", "django", "makemigrations", "django_celery_beat", "-v0"], folder, environment)
        run(["-m", "django", "migrate_schemas", "--shared", "-v0"], folder, environment)
        yield environment


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def worker(folder: Path, environment: dict[str, str], app: str, *arguments: str) -> Iterator[WorkerProcess]:
    name = f"{app.partition(':')[0]}-{folder.name}"
    log = folder / f"{name}.log"
    words = ["-m", "celery", "-A", app, "worker", "-l", "info", "-c", "2", *arguments]
    with log.open("wb") as out:
        process = nursery.start(
            [*words, "--without-mingle", "-n", f"{name}@%h"], env=environment, cwd=folder, stdout=out
        )
    started = WorkerProcess(process, log)
    try:
        wait_until(lambda: " ready." in started.output() or process.poll() is not None, 40, "the worker is ready")
        assert process.poll() is None, started.output()
        yield started
    finally:
        started.stop()
