"""Taskyard: a row per job in PostgreSQL, on any broker or none."""

import dataclasses
import os

from bench import work
from taskyard import task
from taskyard.tasks.task import TaskOptions

# What a variant says in `@task(...)`: nothing, pack=True or tracked=False.
OPTIONS = {"pack": {"pack": True}, "untracked": {"tracked": False}}.get(os.environ.get("BENCH_VARIANT", ""), {})


def missing() -> str:
    """Why this variant cannot run with this version, or nothing."""
    unknown = set(OPTIONS) - {field.name for field in dataclasses.fields(TaskOptions)}
    return f"@task has no {', '.join(sorted(unknown))} yet" if unknown else ""


if not missing():
    append = task(**OPTIONS)(work.append)
    stamp = task(**OPTIONS)(work.stamp)
    hold = task(**OPTIONS)(work.hold)


@task(unique="number")
def keyed(number: int) -> None:
    """Only enqueued, never run: what unique keys cost."""


def set_up() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def enqueue(name: str, value: int) -> None:
    # A message without a row is sent in Celery's words.
    send = globals()[name].enqueue if OPTIONS.get("tracked", True) else globals()[name].delay
    send(value)


def fill(name: str, count: int) -> None:
    if OPTIONS.get("tracked", True):
        argument = next(iter(globals()[name].signature.parameters))
        globals()[name].enqueue_many({argument: number} for number in range(count))
    else:
        for number in range(count):
            enqueue(name, number)
