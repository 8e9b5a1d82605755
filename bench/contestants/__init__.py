"""Who is measured: one module per system, one entry here per way of running it.

A module declares the tasks of :mod:`bench.work` in its system and offers three functions, called in a process of its
own: ``set_up()`` makes tables, ``enqueue(task, value)`` sends one job as its users would, ``fill(task, count)`` makes a
backlog in the quickest way it has. ``missing()``, where it exists, says why it cannot run.
"""

import sys
from dataclasses import dataclass, field
from typing import Any

PYTHON = (sys.executable, "-m")


@dataclass(frozen=True)
class Contestant:
    name: str
    title: str
    #: Module below ``bench.contestants``.
    module: str
    #: One command line per worker that is started, two processes that run jobs in all.
    workers: tuple[tuple[str, ...], ...]
    #: How its two worker processes come about, for the reader.
    shape: str
    broker: str = ""
    database: bool = False
    #: Django settings; ``APPS`` are added to the installed ones, ``DATABASE`` to the database's.
    settings: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    #: Queues it leaves on RabbitMQ.
    queues: tuple[str, ...] = ("celery",)
    #: How much of the asked count it gets, where a full one would take minutes.
    share: float = 1.0

    @property
    def uses_django(self) -> bool:
        return bool(self.settings)


BROKERS = {"redis": "Redis", "rabbitmq": "RabbitMQ"}
PREFORK = "one worker, two children (`-c 2`)"
HUEY = "huey.bin.huey_consumer bench.contestants.huey_jobs.huey -w 2 -k process -q"
TWO = "two processes, one job at a time each"


def _celery(app: str) -> tuple[tuple[str, ...], ...]:
    # {name} is replaced: two workers of one host need two names.
    return ((*PYTHON, "celery", "-A", app, "worker", "-c", "2", "-l", "warning", "-n", "{name}@%h"),)


def _taskyard(name: str, title: str, broker: str, variant: str = "") -> Contestant:
    return Contestant(
        name, title, "taskyard_jobs", _celery("taskyard"), PREFORK, broker, True, {"APPS": ["taskyard"]}, variant
    )


def _plain(broker: str) -> Contestant:
    workers = _celery("bench.contestants.plain_celery")
    return Contestant(f"celery-{broker}", f"Celery, {BROKERS[broker]}", "plain_celery", workers, PREFORK, broker)


def _results(broker: str, variant: str, share: float) -> Contestant:
    settings = {
        "APPS": ["django_celery_results"],
        "DATABASE": {"CONN_MAX_AGE": None} if variant else {},
        "CELERY_TASK_ACKS_LATE": True,
        "CELERY_RESULT_BACKEND": "django-db",
    }
    name = "-".join(filter(None, ("results", variant, broker)))
    title = f"Celery + django-celery-results, {BROKERS[broker]}, " + ("connection reuse" if variant else "as it comes")
    workers = _celery("bench.contestants.celery_results")
    return Contestant(name, title, "celery_results", workers, PREFORK, broker, True, settings, variant, share=share)


def _dramatiq(broker: str) -> Contestant:
    return Contestant(
        f"dramatiq-{broker}", f"Dramatiq, {BROKERS[broker]}", "dramatiq_jobs",
        ((*PYTHON, "dramatiq", "bench.contestants.dramatiq_jobs", "-p", "2"),),
        "one worker, two processes with eight threads each (`-p 2`)", broker,
        queues=("default", "default.DQ", "default.XQ"),
    )  # fmt: skip


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        _taskyard("taskyard-database", "Taskyard, PostgreSQL alone", ""),
        _taskyard("taskyard-redis", "Taskyard, PostgreSQL + Redis", "redis"),
        _taskyard("taskyard-rabbitmq", "Taskyard, PostgreSQL + RabbitMQ", "rabbitmq"),
        _taskyard("taskyard-pack", "Taskyard, PostgreSQL + Redis, `pack=True`", "redis", "pack"),
        _taskyard("taskyard-untracked-redis", "Taskyard, Redis, `tracked=False`", "redis", "untracked"),
        _taskyard("taskyard-untracked-rabbitmq", "Taskyard, RabbitMQ, `tracked=False`", "rabbitmq", "untracked"),
        _plain("redis"),
        _plain("rabbitmq"),
        _results("redis", "", 0.1),
        _results("redis", "reuse", 0.25),
        _results("rabbitmq", "", 0.1),
        _results("rabbitmq", "reuse", 0.25),
        Contestant(
            "procrastinate", "Procrastinate", "procrastinate_jobs",
            ((*PYTHON, "django", "procrastinate", "worker"),) * 2, TWO, database=True,
            settings={"APPS": ["procrastinate.contrib.django"]},
        ),
        Contestant(
            "django-tasks-db", "django-tasks-db", "django_tasks",
            ((*PYTHON, "django", "db_worker", "-v", "0", "--no-startup-delay"),) * 2,
            TWO + "; `CONN_MAX_AGE=None`", database=True,
            settings={
                "APPS": ["django_tasks_db"],
                # Its worker closes connections by their age, which by default means one for each task.
                "DATABASE": {"CONN_MAX_AGE": None},
                "TASKS": {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
            },
        ),
        _dramatiq("redis"),
        _dramatiq("rabbitmq"),
        Contestant(
            "huey-redis", "Huey, Redis", "huey_jobs",
            ((*PYTHON, *HUEY.split()),),
            "one consumer, two processes (`-w 2 -k process`)", "redis",
        ),
    )
}  # fmt: skip
