"""The project of the tests: its tasks, and the faults the environment asks for."""

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import signals
from django.apps import AppConfig

from taskyard.runtime import faults

from . import striking


class TestAppConfig(AppConfig):
    """Arms fault points named in ``TASKYARD_TEST_FAULTS``: ``{"point": "path"}`` kills the process that reaches the
    point first; the file at the path is made by whoever dies, so that it happens once. ``"stuck:path"``: once there is
    such a file, whoever gets there gets no further. With ``TASKYARD_TEST_SERVICE`` who serves a saga dies where a test
    says (:mod:`tests.app.striking`). With ``TASKYARD_TEST_HANGS`` a worker's pool never comes to an end once it is told
    to stop."""

    name = "tests.app"
    label = "app"

    def ready(self) -> None:
        for point, path in json.loads(os.environ.get("TASKYARD_TEST_FAULTS", "{}")).items():
            how, _, file = path.rpartition(":")
            faults.arm(point, _stick(Path(file)) if how == "stuck" else _kill_once(Path(file)))
        if striking.FOLDER in os.environ:
            striking.arm()
        if "TASKYARD_TEST_HANGS" in os.environ:
            signals.worker_ready.connect(_never_stop, weak=False)


def _never_stop(sender: Any, **_: object) -> None:
    sender.controller.pool.stop = threading.Event().wait


def _stick(mark: Path) -> Callable[[], None]:
    def strike() -> None:
        if mark.exists():
            threading.Event().wait()

    return strike


def _kill_once(mark: Path) -> Callable[[], None]:
    def strike() -> None:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return strike
