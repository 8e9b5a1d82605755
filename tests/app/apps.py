"""The project of the tests: its tasks, and the faults the environment asks for."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from django.apps import AppConfig

from taskyard.runtime import faults


class TestAppConfig(AppConfig):
    """Arms fault points named in ``TASKYARD_TEST_FAULTS``: ``{"point": "path"}`` kills the process that reaches the
    point first; the file at the path is made by whoever dies, so that it happens once."""

    name = "tests.app"
    label = "app"

    def ready(self) -> None:
        for point, path in json.loads(os.environ.get("TASKYARD_TEST_FAULTS", "{}")).items():
            faults.arm(point, _kill_once(Path(path)))


def _kill_once(mark: Path) -> Callable[[], None]:
    def strike() -> None:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return strike
