"""What a Celery task gains when it is registered with our app, whatever its base class is."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from celery.app.registry import TaskRegistry
from celery.contrib.django.task import DjangoTask

from taskyard.celery.attempt.attempt import current_attempt
from taskyard.celery.attempt.body import guarded
from taskyard.celery.messages import CALL_ERRBACK
from taskyard.tasks import registry as declared_tasks
from taskyard.tasks.task import Task
from taskyard.tenancy.context import find_tenancy

if TYPE_CHECKING:
    from taskyard.celery.application import Celery

_STRATEGY = "taskyard.celery.worker.request:strategy"


class JobTask(DjangoTask):
    """The app's default base class; only needed for its name, behaviour is installed per task."""

    abstract = True


class Registry(TaskRegistry):
    """Installs our behaviour on each task as it is registered.

    ``base=`` subclasses of ``celery.Task`` do not inherit the app's task class, so nothing may depend on it.
    """

    def register(self, task: Any) -> None:
        """Add a task."""
        super().register(task)
        self._install(task.name)

    def __setitem__(self, name: str, task: Any) -> None:
        super().__setitem__(name, task)
        self._install(name)

    def _install(self, name: str) -> None:
        task = self[name]
        if getattr(task, "_taskyard_installed", False):
            return
        task._taskyard_installed = True
        if not getattr(task, "tracked", True):
            task.run = _as_said(task)
            return
        task.Strategy = _STRATEGY
        task.run = guarded(task)
        task.on_replace = functools.partial(_on_replace, task, task.on_replace)
        if hasattr(task, "delay_on_commit"):
            # The row is part of the transaction; waiting for its commit would only lose the id.
            task.delay_on_commit = task.delay
            task.apply_async_on_commit = task.apply_async


def _as_said(task: Any) -> Any:
    body = task.run

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> Any:
        if find_tenancy() is None:
            return body(*args, **kwargs)
        # Late: a project's celery.py is imported before its models may be.
        from taskyard.celery.attempt.owner import run_as_said

        return run_as_said(task, body, *args, **kwargs)

    return run


def _on_replace(task: Any, original: Any, sig: Any) -> Any:
    attempt = current_attempt()
    if attempt is None or attempt.celery_id != task.request.id:
        return original(sig)
    attempt.is_replacing = attempt.was_replaced = True
    try:
        return original(sig)
    finally:
        attempt.is_replacing = False


def adopt_declared_tasks(app: Celery) -> None:
    """Make every ``@taskyard.task``, declared before or after, a task of this app."""
    declared_tasks.observe(functools.partial(_adopt, app))


def _adopt(app: Celery, declared: Task[Any, Any]) -> None:
    if app.finalized:
        _register(app, declared)
    else:
        app._pending.append(_Promise(app, declared))


class _Promise:
    # The shape Celery's finalize() evaluates: registering earlier would read the configuration at import time.
    def __init__(self, app: Celery, declared: Task[Any, Any]) -> None:
        self.app, self.declared = app, declared

    def __maybe_evaluate__(self) -> Any:
        return _register(self.app, self.declared)


def _register(app: Celery, declared: Task[Any, Any]) -> Any:
    options = declared.options
    limits = {
        name: getattr(options, name).total_seconds()
        for name in ("soft_time_limit", "time_limit")
        if getattr(options, name) is not None
    }
    task = app._task_from_fun(
        _body(declared), name=declared.name, max_retries=options.retry.max_retries, tracked=options.tracked,
        declared=declared, throws=tuple(options.errors), **limits,
    )  # fmt: skip
    # Not as an attribute of its class: Celery deprecates that, and warns once for each task.
    task.queue = options.queue
    return task


def _body(declared: Task[Any, Any]) -> Any:
    function, is_async, is_bound = declared.func, inspect.iscoroutinefunction(declared.func), declared.options.bind

    @functools.wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        # Made for each call: it remembers the thread it was made in.
        call = async_to_sync(function) if is_async else function
        return call(declared, *args, **kwargs) if is_bound else call(*args, **kwargs)

    # Celery checks arguments against this signature, without the bound first one.
    body.__signature__ = declared.signature  # type: ignore[attr-defined]
    del body.__wrapped__
    return body


def add_own_tasks(app: Celery) -> None:
    """Tasks Taskyard itself enqueues."""

    @app.task(name=CALL_ERRBACK, shared=False, ignore_result=True)
    def run(stored: dict[str, Any], task_id: str, context: dict[str, Any], error: dict[str, str]) -> None:
        from taskyard.celery.results.errbacks import call_errback

        call_errback(app, stored, task_id, context, error)
