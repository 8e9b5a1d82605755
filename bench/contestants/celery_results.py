"""Celery with django-celery-results: every result a row in PostgreSQL, as it comes or with its connection kept."""

import os

from celery import Celery
from celery.fixups.django import DjangoWorkerFixup

from bench import work

if os.environ["BENCH_VARIANT"] == "reuse":
    # No setting of Celery's keeps a connection for good. This is what people patch who noticed.
    DjangoWorkerFixup.close_database = lambda self, **_: None

app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")
append = app.task(name="bench.append")(work.append)
stamp = app.task(name="bench.stamp")(work.stamp)


def set_up() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def enqueue(name: str, value: int) -> None:
    globals()[name].delay(value)


def fill(name: str, count: int) -> None:
    for number in range(count):
        enqueue(name, number)
