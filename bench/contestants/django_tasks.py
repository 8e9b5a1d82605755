"""Django's own tasks on django-tasks-db: a row per task in PostgreSQL."""

from django.db import transaction
from django.tasks import task

from bench import work


@task
def append(value: int) -> None:
    work.append(value)


@task
def stamp(value: int) -> None:
    work.stamp(value)


def set_up() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def enqueue(name: str, value: int) -> None:
    globals()[name].enqueue(value)


def fill(name: str, count: int) -> None:
    with transaction.atomic():
        for number in range(count):
            enqueue(name, number)
