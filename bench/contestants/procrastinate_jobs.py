"""Procrastinate: a row per job in PostgreSQL, through its Django integration."""

from procrastinate.contrib.django import app

from bench import work

#: Jobs of one statement when a backlog is made.
CHUNK = 1000


@app.task(name="bench.append")
def append(value: int) -> None:
    work.append(value)


@app.task(name="bench.stamp")
def stamp(value: int) -> None:
    work.stamp(value)


def set_up() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def enqueue(name: str, value: int) -> None:
    globals()[name].defer(value=value)


def fill(name: str, count: int) -> None:
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        globals()[name].batch_defer(*({"value": number} for number in numbers))
