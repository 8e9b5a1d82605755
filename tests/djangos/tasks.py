"""Tasks of the tests that are declared with Django's decorator."""

import asyncio
import datetime as dt
import os
import sys
from typing import Any

from taskyard import Discard, RetryPolicy, Snooze, current_job
from tests.app.tasks import history, wait_for_file
from tests.djangos.api import TaskContext, task, task_enqueued, task_finished, task_started

SOON = RetryPolicy(max_retries=1, backoff=dt.timedelta(0))


def tell(signal: Any, task_result: Any, **_: Any) -> None:
    """Which signal came, in which process, for which task and with which status."""
    if "TASKYARD_TEST_HISTORY" in os.environ:
        word = {task_enqueued: "enqueued", task_started: "started", task_finished: "finished"}[signal]
        history(word, task_result.id, task_result.task.name, task_result.status, task_result.attempts)


for one in (task_enqueued, task_started, task_finished):
    one.connect(tell)


@task
def add(x: float, y: float) -> float:
    return x + y


@task
async def add_later(x: float, y: float) -> float:
    return await asyncio.to_thread(lambda: x + y)


@task(takes_context=True)
def who(context: TaskContext) -> list[Any]:
    return [context.task_result.id, context.attempt, str(current_job().id)]


@task(takes_context=True, retry=SOON, time_limit=dt.timedelta(minutes=5))
def second_time(context: TaskContext, error: str = "once") -> list[Any]:
    if context.attempt == 1:
        raise LookupError(error)
    return [context.attempt, [one.exception_class_path for one in context.task_result.errors]]


@task(unique="key", queue_name="documents")
def once(key: str, note: str = "") -> str:
    return key


@task
def steer(how: str) -> Any:
    if how == "fail":
        raise LookupError("no such thing")
    if how == "exit":
        sys.exit("enough")
    if how == "discard":
        raise Discard("not worth it")
    if how == "snooze" and current_job().attempt == 1:
        raise Snooze(dt.timedelta(0))
    return {1, 2} if how == "not json" else (how, b"bytes")


@task(time_limit=dt.timedelta(seconds=1))
def over_time(path: str) -> None:
    wait_for_file(path)


@task(tenant_from="customer")
def for_customer(customer: str) -> str:
    return current_job().tenant
