"""Connects declarations to the rooms above them, once, when Django has loaded."""

from __future__ import annotations

import contextlib
import functools
import inspect
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings

from taskyard.tasks.doors import open_door


def connect() -> None:
    """Called by ``TaskyardConfig.ready()``."""
    # Declare the tasks of our own.
    import taskyard.operations.bulk.task
    import taskyard.schedules.sources.crontab.run
    from taskyard import enqueue
    from taskyard.celery.application import serve_shared_tasks
    from taskyard.celery.attempt import log
    from taskyard.execution.steering import cancel
    from taskyard.jobs.current import current_job
    from taskyard.tenancy.fanout import serve_with
    from taskyard.tenancy.schema_switch import watch_connections

    open_door("enqueue", enqueue.enqueue)
    open_door("aenqueue", enqueue.aenqueue)
    open_door("enqueue_many", enqueue.enqueue_many)
    open_door("cancel", cancel)
    open_door("current_job", current_job)
    open_door("schedule", _schedule)
    open_door("saga", _saga)
    open_door("celery_task", _celery_task)
    open_door("celery_job", _celery_job)
    open_door("route", _route)
    open_door("default_queue", _default_queue)
    open_door("parameters", _parameters)
    open_door("load_tasks", _load_tasks)
    open_door("tell_canvases", _tell_canvases)
    open_door("is_eager", _is_eager)
    open_door("run_eagerly", _run_eagerly)
    open_door("stop_worker", _stop_worker)
    serve_with(enqueue.enqueue_for_tenants)
    serve_shared_tasks()
    log.install()
    if apps.is_installed("django_celery_beat"):
        import taskyard.schedules.calls  # noqa: F401  - declares the task that its rows run
    if getattr(django_settings, "CRON_CLASSES", None):
        # The task that runs them.
        import_module("taskyard.compat.django_cron")
    # Also those that are opened before anybody enters a tenant.
    watch_connections()


def _celery_task(name: str) -> Any:
    from taskyard.celery import get_app

    return get_app().tasks[name]


def _celery_job(*args: Any, **said: Any) -> Any:
    from taskyard.celery.beat.calls import job_of_call

    return job_of_call(*args, **said)


def _route(task: str) -> str:
    from taskyard.celery import get_app

    return get_app().route_of(task)


def _default_queue() -> str:
    from taskyard.celery import get_app

    return get_app().default_queue_name()


def _parameters(task: str) -> list[str] | None:
    from taskyard.celery import get_app

    known = get_app().tasks.get(task)
    try:
        return None if known is None else list(inspect.signature(known.run).parameters)
    except (TypeError, ValueError):
        # Something written in C that says nothing of its arguments.
        return []


@functools.cache
def _load_tasks() -> None:
    from taskyard.celery import get_app

    # What is broken is for whoever runs tasks to say, not for whoever looks at a job.
    with contextlib.suppress(Exception):
        get_app().loader.import_default_modules()


def _tell_canvases(job_ids: list[Any], reason: str) -> None:
    from taskyard.celery import get_app
    from taskyard.celery.results.cancelled import tell_canvases

    tell_canvases(get_app(), job_ids, reason)


def _schedule(notice: Any) -> None:
    from taskyard.schedules.definitions.changes import take

    take(notice)


def _saga(notice: Any) -> None:
    from taskyard.sagas.writing.starting import take

    take(notice)


def _is_eager() -> bool:
    from taskyard.celery.eager import is_eager

    return is_eager()


def _run_eagerly(*args: Any) -> None:
    from taskyard.celery.eager import run_eagerly

    run_eagerly(*args)


def _stop_worker(name: str) -> None:
    from taskyard.celery.control import stop_worker

    stop_worker(name)
