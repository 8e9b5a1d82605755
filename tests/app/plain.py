"""Tasks as a project on plain Celery has them: nothing of Taskyard is imported here."""

import os
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from celery import chord, group, shared_task
from celery.exceptions import Ignore, Reject
from django.db import connection, transaction

from .models import Note


def remember_line(*words: object) -> None:
    """Append one line to the history, as the other tasks do."""
    line = " ".join(map(str, (f"{time.time():.6f}", os.getpid(), *words))) + "\n"
    with Path(os.environ["TASKYARD_TEST_HISTORY"]).open("a") as file:
        file.write(line)


def wait_for(path: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


@shared_task(bind=True, acks_late=True)
def quick(self: Any, n: int, how: str = "", path: str = "") -> int:
    """A job of a millisecond, unless it is told to wait, or to kill its process in its first attempt."""
    remember_line("start", self.request.id, self.request.retries, "quick")
    if how == "wait":
        wait_for(path)
    if how == "die" and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    remember_line("end", self.request.id, self.request.retries, "quick")
    return n


@shared_task
def drops_connection(n: int) -> int:
    """The server ends the connection that the worker is about to use, where there is a server."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        other = connection.copy("other")
        with closing(other), other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    return n


@shared_task
def double(x: Any) -> Any:
    return x * 2


@shared_task
def double_later(x: Any, path: str) -> Any:
    wait_for(path)
    return x * 2


@shared_task
def say(*words: Any) -> None:
    """Its side effect is a line, so that a second run would show."""
    remember_line("say", *words)


@shared_task(bind=True)
def about(self: Any) -> dict[str, Any]:
    """What the task knows of itself."""
    request = self.request
    return {
        "id": request.id,
        "root": request.root_id,
        "parent": request.parent_id,
        "eta": request.eta,
        "expires": request.expires,
        "headers": (request.headers or {}).get("colour"),
        "retries": request.retries,
    }


@shared_task(ignore_result=True)
def keeps_no_result() -> int:
    return 42


@shared_task(bind=True, max_retries=1, default_retry_delay=0)
def retries_and_goes_on(self: Any, mark: str) -> str:
    """``throw=False``: the code behind the call still runs."""
    if self.request.retries == 0:
        self.retry(throw=False)
        remember_line("say", mark)
        return "of the first try"
    return "of the second try"


@shared_task(bind=True, max_retries=2)
def retries_with_other_arguments(self: Any, x: int) -> int:
    if x < 3:
        raise self.retry(args=(x + 1,), countdown=0.01)
    return x


@shared_task(bind=True, max_retries=5)
def fails_once_in_its_transaction(self: Any, text: str) -> int:
    with transaction.atomic():
        Note.objects.create(text=text)
        say.delay(text)
        if self.request.retries == 0:
            raise self.retry(countdown=0.01)
    return int(self.request.retries)


@shared_task(bind=True)
def shows_its_state(self: Any, path: str, end: str = "return") -> str:
    self.update_state(state="COUNTING", meta={"page": 7})
    wait_for(path)
    if end == "ignore":
        raise Ignore
    if end == "fail":
        self.update_state(state="FAILURE", meta={"exc_type": "ValueError", "exc_message": ["by hand"]})
        raise Ignore
    return "seen"


@shared_task(bind=True)
def rejects(self: Any, *, requeue: bool, mark: str) -> str:
    """Rejects the first time."""
    if not Path(mark).exists():
        Path(mark).touch()
        raise Reject("not now", requeue=requeue)
    return "after all"


@shared_task(bind=True)
def replaced_by(self: Any, how: str, x: float) -> Any:
    match how:
        case "task":
            raise self.replace(double.s(x))
        case "chain":
            raise self.replace(double.s(x) | double.s())
        case "chord":
            raise self.replace(chord([double.s(x), double.s(x)], gather.s()))
        case "group":
            raise self.replace(group(double.s(x), double.s(x)))
        case "failure":
            raise self.replace(double.s(x) | breaks.s())
        case _:
            raise self.replace(replaced_by.s("task", x))


@shared_task
def gather(numbers: list[Any]) -> Any:
    return sum(numbers)


@shared_task
def breaks(*args: Any) -> None:
    raise ZeroDivisionError("as asked")


@shared_task
def fans_out(count: int) -> list[str]:
    return [double.delay(number).id for number in range(count)]


@shared_task
def on_error_by_id(task_id: str) -> None:
    remember_line("error", task_id)


@shared_task
def on_error_with_mark(task_id: str, *, mark: str) -> None:
    remember_line("error", task_id, mark)


@shared_task
def on_error(request: Any, exc: Exception, traceback: Any) -> None:
    remember_line("error", request.id, type(exc).__name__, "traceback" if traceback else "")
