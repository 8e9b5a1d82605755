"""Arms the fault point that this process was asked to die at."""

import os
from pathlib import Path

from django.apps import AppConfig

from taskyard.testing import faults
from taskyard.testing.history import History
from taskyard.testing.processes import process


class SoakConfig(AppConfig):
    name = "tests.soak"
    label = "soak"

    def ready(self) -> None:
        point, _, mark = os.environ.get("SOAK_FAULT", "").partition("=")
        if point:
            faults.arm(point, faults.killing(Path(mark), before=_write_down))


def _write_down() -> None:
    # Whoever dies here takes its children along; a pool's child has none.
    family = process(os.getpid()).family
    History(os.environ["SOAK_HISTORY"]).killed(member.pid for member in family)
