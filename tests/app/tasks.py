"""Tasks of the tests. Each writes its start and end to an append-only file outside of the database."""

import datetime as dt
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

from celery import shared_task
from django.db import connection, transaction

from taskyard import Discard, Retry, RetryPolicy, Snooze, current_job, task

from . import parcels as parcels
from . import plain as plain
from . import spills as spills
from . import waits as waits
from .models import Note

POLICY = RetryPolicy(max_retries=2, backoff=dt.timedelta(milliseconds=50), jitter=False)


def history(*words: object) -> None:
    """Append one line: time, process id, words."""
    line = " ".join(map(str, (f"{time.time():.6f}", os.getpid(), *words))) + "\n"
    file = os.open(os.environ["TASKYARD_TEST_HISTORY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


class recorded:
    """Context manager: ``start ID ATTEMPT NAME`` and ``end ID ATTEMPT NAME`` in the history."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        job = current_job()
        self.what = (job.id, job.attempt, self.name)
        history("start", *self.what)

    def __exit__(self, *exc: object) -> None:
        history("end", *self.what)


def wait_for_file(path: str, seconds: float = 60.0) -> None:
    """Until a test says go."""
    deadline = time.monotonic() + seconds
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


@task
def note(text: str) -> dict[str, Any]:
    with recorded("note"):
        Note.objects.create(text=text)
        return {"success": True, "text": text}


@task
def nothing(n: int = 0) -> int:
    return n


@task
def fails_for_good() -> None:
    raise ValueError("for good")


@task
def report_batch(batch_id: str) -> str:
    return batch_id


@task
def hold(path: str, seconds: float = 60.0) -> str:
    with recorded("hold"):
        wait_for_file(path, seconds)
        return "released"


@task(retry=POLICY)
def flaky(succeed_at: int) -> int:
    attempt: int = current_job().attempt
    if attempt < succeed_at:
        raise ValueError(f"attempt {attempt} fails")
    return attempt


@task(unique="key")
def once(key: str, path: str = "") -> str:
    if path:
        wait_for_file(path)
    return key


@task(unique="key", unique_until="start")
def once_until_start(key: str, path: str = "") -> str:
    if path:
        wait_for_file(path)
    return key


@task(unique=True, on_duplicate="raise")
def once_or_raise(key: str) -> str:
    return key


@task
def steer(how: str) -> str:
    if how == "retry" and current_job().attempt == 1:
        raise Retry("once more", after=dt.timedelta(milliseconds=20))
    if how == "discard":
        raise Discard("not worth it")
    if how == "fail-once" and current_job().attempt == 1:
        raise ValueError("once")
    if how == "snooze" and current_job().attempt == 1:
        raise Snooze(dt.timedelta(milliseconds=50))
    return how


@task
def rest(seconds: float) -> None:
    """Takes a while and no CPU."""
    threading.Event().wait(seconds)


@task
def answer(value: Any) -> Any:
    return value


@task
def not_json() -> Any:
    return {1, 2, 3}


@task(time_limit=dt.timedelta(seconds=1))
def over_time(path: str) -> None:
    with recorded("over_time"):
        wait_for_file(path)


@task(time_limit=dt.timedelta(seconds=1), retry=RetryPolicy(max_retries=1, backoff=dt.timedelta(0)))
def over_time_retried(path: str) -> str:
    with recorded("over_time_retried"):
        if current_job().attempt == 1:
            wait_for_file(path)
        return "second"


@task(soft_time_limit=dt.timedelta(seconds=1), time_limit=dt.timedelta(seconds=30))
def over_soft_time(path: str) -> None:
    wait_for_file(path)


@task
def die_first(attempts: int = 1) -> int:
    attempt: int = current_job().attempt
    with recorded("die_first"):
        if attempt <= attempts:
            os.kill(os.getpid(), 9)
        return attempt


_kept: list[bytes] = []


@task
def allocate(megabytes: int) -> int:
    """Needs that much memory, all of it touched."""
    with recorded("allocate"):
        return len(b"x" * (megabytes * 1024 * 1024))


@task
def leaks(megabytes: int) -> int:
    """Keeps that much memory, and tells in which process."""
    with recorded("leaks"):
        _kept.append(b"x" * (megabytes * 1024 * 1024))
        return os.getpid()


@task(time_limit=dt.timedelta(seconds=1))
def hangs_in_c() -> None:
    """Never gives the interpreter back."""
    re.match("(a+)+$", "a" * 64 + "b")


@task
def follows(text: str) -> None:
    history("follows", text)


@task
def commits_with_a_follower(text: str) -> None:
    """An effect and a job that follows it, in one transaction."""
    with transaction.atomic():
        Note.objects.create(text=text)
        follows.enqueue(text=text)


@task
def with_checkpoint(path: str) -> Any:
    job = current_job()
    with recorded("with_checkpoint"):
        if job.checkpoint is None:
            job.save_checkpoint({"page": 7})
            wait_for_file(path)
        return job.checkpoint


@task
def batch(items: list[int], path: str = "") -> int:
    job = current_job()
    for item in job.track(items, message="counting"):
        if item % 10 == 9:
            job.item_failed(item, "nine")
        if path:
            wait_for_file(path)
    return len(items)


@task
def walk(folder: str, steps: int) -> int:
    """A step for each file ``0``, ``1``, ... that a test leaves there."""
    for step in current_job().track(range(steps), message="walking"):
        wait_for_file(f"{folder}/{step}")
    return steps


@task
def patient(path: str) -> str:
    """Runs until it is cancelled or released."""
    job = current_job()
    deadline = time.monotonic() + 60
    while not Path(path).exists() and time.monotonic() < deadline:
        job.raise_if_cancelled()
        time.sleep(0.02)
    return "released"


# -- written for plain Celery ------------------------------------------------------------------------------------------


@shared_task
def add(x: float, y: float) -> float:
    return x + y


@shared_task
def total(numbers: list[float]) -> float:
    return sum(numbers)


@shared_task
def boom(*args: object) -> None:
    raise RuntimeError("boom")


@shared_task(bind=True, max_retries=3)
def retries(self: Any, succeed_at: int) -> int:
    if self.request.retries < succeed_at:
        raise self.retry(countdown=0.05, exc=KeyError("not yet"))
    return int(self.request.retries)


@shared_task(bind=True, max_retries=3)
def retries_in_transaction(self: Any, text: str) -> int:
    with transaction.atomic():
        Note.objects.create(text=text)
        if self.request.retries == 0:
            raise self.retry(countdown=0.05)
    return int(self.request.retries)


@shared_task(autoretry_for=(OSError,), retry_backoff=False, default_retry_delay=0, max_retries=2, bind=True)
def autoretries(self: Any, succeed_at: int) -> int:
    if self.request.retries < succeed_at:
        raise OSError("not yet")
    return int(self.request.retries)


@shared_task
def errback(task_id: str) -> None:
    history("errback", task_id)


@shared_task
def errback_with_exception(request: Any, exc: Exception, traceback: Any) -> None:
    history("errback_with_exception", request.id, type(exc).__name__)


@shared_task
def remember(value: object, *more: object) -> object:
    history("remember", value)
    return value


@shared_task(bind=True)
def replaces(self: Any, how: str) -> Any:
    if how == "task":
        raise self.replace(add.si(1, 2))
    if how == "chain":
        raise self.replace(add.si(1, 2) | add.s(10))
    raise self.replace(add.si(1, 2) | remember.s())


@task(retry=RetryPolicy(max_retries=1))
def retry_much_later() -> None:
    raise Retry("in an hour", after=dt.timedelta(hours=1))


@task
def which_attempt(first: str, later: str) -> int:
    """The first attempt waits for one file, the others for another; each reports its number before it returns it."""
    job = current_job()
    with recorded("which_attempt"):
        wait_for_file(first if job.attempt == 1 else later)
        job.progress(job.attempt)
        return int(job.attempt)


@task
def batch_generate_letters(name: str) -> str:
    """Routed by the pattern of its name."""
    with recorded(f"batch_generate_letters {name}"):
        return name


@task
def say_for(word: str) -> str:
    """Tells for whom it runs, and with what."""
    with recorded(f"say_for {word}"):
        return f"{word} for {current_job().tenant}"


@task(tracked=False)
def say_untracked(word: str) -> None:
    history("untracked", word)


@task
def trace_line(name: str) -> None:
    history("trace", name)


@task
def who(path: str = "") -> dict[str, Any]:
    """Which process, connection and job it is, before and after the others have begun."""
    job = current_job()
    before = str(job.id)
    with connection.cursor() as cursor:
        backend = None
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_backend_pid()")
            backend = cursor.fetchone()[0]
    with recorded("who"):
        if path:
            wait_for_file(path)
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "backend": backend,
        "job": before,
        "later": str(current_job().id),
    }


# -- several in one message --------------------------------------------------------------------------------------------


@task(pack=True)
def tiny(value: Any = None) -> Any:
    with recorded("tiny"):
        return value


@task(pack=True, retry=POLICY)
def tiny_steered(how: str, path: str = "") -> str:
    """Many of it share a message; one of them does something else."""
    job = current_job()
    with recorded(f"tiny_steered {how}"):
        is_first = job.attempt == 1
        if path and (how == "wait" or is_first):
            wait_for_file(path)
        if how == "die" or (how == "die-once" and is_first):
            os.kill(os.getpid(), 9)
        if how == "fail" or (how == "fail-once" and is_first):
            raise ValueError(how)
        if how == "progress":
            job.progress(3, 4, "three")
        if how == "checkpoint":
            job.save_checkpoint({"page": 1})
        if how == "follow":
            commits_with_a_follower("from a pack")
        if how == "cut":
            # What an administrator does, or a failover: the connection this process has is gone.
            _end_own_connection()
        if how == "broken-transaction":
            connection.set_autocommit(False)
            Note.objects.create(text="never committed")
        if how == "note":
            Note.objects.create(text="written")
        return how


def _end_own_connection() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()


@task(pack=True, unique="key", unique_until="start")
def tiny_once_until_start(key: str) -> str:
    return key


@task(tracked=False)
def hold_untracked(path: str) -> None:
    history("untracked", "begins")
    wait_for_file(path)
