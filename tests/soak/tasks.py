"""Tasks of the soak, most of them tiny; each writes its history around its body. What releases differ in is apart."""

import datetime as dt
import os
import signal
import time
from typing import Any

from celery import shared_task

from taskyard import RetryPolicy, Snooze, current_job, task
from tests.soak import release
from tests.soak.ledger import HISTORY

QUICK = RetryPolicy(max_retries=3, backoff=dt.timedelta(milliseconds=100), backoff_max=dt.timedelta(seconds=1))


@task
def tiny(n: int) -> int:
    with HISTORY.attempt():
        return n


@task(queue="slow")
def lasts(n: int, seconds: float) -> int:
    with HISTORY.attempt():
        time.sleep(seconds)
        return n


@task(retry=QUICK)
def flaky(n: int, succeed_at: int) -> int:
    with HISTORY.attempt():
        if current_job().attempt < succeed_at:
            raise ValueError("not yet")
        return n


@task(retry=RetryPolicy(max_retries=1, backoff=dt.timedelta(milliseconds=100)))
def hopeless(n: int) -> None:
    with HISTORY.attempt():
        raise ValueError(f"{n} never works")


@task
def mended(n: int) -> int:
    """Fails the first time, and is not retried: an operator brings it back."""
    with HISTORY.attempt():
        if current_job().attempt == 1:
            raise ValueError("somebody has to look at this")
        return n


@task(unique="key")
def once(key: str, seconds: float) -> str:
    with HISTORY.attempt(unique=key):
        time.sleep(seconds)
        return key


@task(unique="key", retry=QUICK)
def once_flaky(key: str) -> str:
    with HISTORY.attempt(unique=key):
        if current_job().attempt == 1:
            raise ValueError("not yet")
        return key


@task(unique="key", unique_until="start")
def once_until_start(key: str) -> str:
    with HISTORY.attempt():
        return key


@task(queue="slow")
def patient(seconds: float) -> bool:
    """Stops early when it is cancelled."""
    job = current_job()
    with HISTORY.attempt():
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job.raise_if_cancelled()
            time.sleep(0.05)
        return True


@task(queue="slow")
def tracks(items: int) -> int:
    job = current_job()
    with HISTORY.attempt():
        for item in job.track(range(items), message="counting"):
            if item % 7 == 3:
                job.item_failed(item, "three")
            time.sleep(0.01)
        return items


@task(queue="slow")
def turns_pages(pages: int) -> list[int]:
    """Every page once, whatever happens to the attempt: what was saved is not done again."""
    job = current_job()
    with HISTORY.attempt():
        done = list(job.checkpoint or [])
        for page in range(len(done), pages):
            time.sleep(0.02)
            done.append(page)
            job.save_checkpoint(done)
        return done


@task
def snoozes(n: int) -> int:
    with HISTORY.attempt():
        if current_job().attempt == 1:
            raise Snooze(dt.timedelta(milliseconds=300))
        return n


@task
def crashes(n: int, times: int) -> int:
    """Takes its own process down."""
    with HISTORY.attempt():
        if current_job().attempt <= times:
            HISTORY.killed([os.getpid()])
            os.kill(os.getpid(), signal.SIGKILL)
        return n


@task(time_limit=dt.timedelta(seconds=1))
def over_time(n: int) -> int:
    with HISTORY.attempt():
        time.sleep(30)
        return n


# -- as written for plain Celery


@shared_task
def adds(x: int, y: int, key: str = "") -> int:
    with HISTORY.attempt():
        if key:
            HISTORY.effect(key, x + y)
        return x + y


@shared_task
def gathers(numbers: list[int], key: str) -> int:
    with HISTORY.attempt():
        HISTORY.effect(key, numbers)
        return sum(numbers)


@shared_task(bind=True, max_retries=3)
def retries(self: Any, n: int, succeed_at: int, key: str = "") -> int:
    with HISTORY.attempt():
        if self.request.retries < succeed_at:
            raise self.retry(countdown=0.1)
        if key:
            HISTORY.effect(key, n)
        return n


@shared_task
def breaks(*args: Any) -> None:
    with HISTORY.attempt():
        raise ZeroDivisionError("as asked")


@shared_task
def on_error(task_id: str, *, key: str) -> None:
    with HISTORY.attempt():
        HISTORY.effect(key, task_id)


@shared_task(bind=True)
def hands_over(self: Any, n: int) -> Any:
    with HISTORY.attempt():
        HISTORY.hands_over()
        raise self.replace(adds.si(n, 1) | adds.s(1))


if release.is_new():
    from tests.soak.new_tasks import brand_new as brand_new
    from tests.soak.new_tasks import greets as greets
else:
    from tests.soak.old_tasks import greets as greets
