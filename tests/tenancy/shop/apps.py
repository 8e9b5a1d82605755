"""Arms fault points named in ``TASKYARD_TEST_FAULTS``, as the other test project does."""

import json
import os
from pathlib import Path

from django.apps import AppConfig

from taskyard.testing import faults


class ShopConfig(AppConfig):
    name = "tests.tenancy.shop"

    def ready(self) -> None:
        for point, path in json.loads(os.environ.get("TASKYARD_TEST_FAULTS", "{}")).items():
            faults.arm(point, faults.killing(Path(path)))
