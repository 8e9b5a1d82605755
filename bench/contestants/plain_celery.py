"""Plain Celery: acks_late, no result backend, no database, no Django; everything else as it comes."""

import os

from celery import Celery

from bench import work

app = Celery(
    "bench", broker=os.environ["BENCH_BROKER_URL"], task_acks_late=True, broker_connection_retry_on_startup=True
)
append = app.task(name="bench.append")(work.append)
stamp = app.task(name="bench.stamp")(work.stamp)


def set_up() -> None:
    """Nothing: queues are declared by whoever comes first."""


def enqueue(name: str, value: int) -> None:
    globals()[name].delay(value)


def fill(name: str, count: int) -> None:
    for number in range(count):
        enqueue(name, number)
