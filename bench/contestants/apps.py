"""The Django app through which a contestant's module is imported, wherever Django is set up."""

import os
from importlib import import_module

from django.apps import AppConfig


class Contestants(AppConfig):
    name = "bench.contestants"
    label = "bench"

    def ready(self) -> None:
        import_module(os.environ["BENCH_MODULE"])
