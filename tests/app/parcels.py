"""The orchestrator of the fault matrix: every kind of step, and a service outside of the database that heeds keys."""

import datetime as dt
import os
import time
from pathlib import Path
from typing import Any

from taskyard.sagas import Context, Orchestrator, orchestrator, signal, step
from taskyard.tasks.retry import NO_RETRY, RetryPolicy

from . import striking

#: Where the routed step runs.
QUEUE = "parcels"


class OutOfStock(Exception):
    """What the service says."""


def ask_service(context: Context, what: str, fails: str = "") -> str:
    """Do something elsewhere: each call is written down, and a key has one effect however often it is called."""
    folder, key = Path(os.environ[striking.FOLDER]), context.idempotency_key
    striking.come_past(context.saga_id, f"before {what}")
    _append(folder / f"{context.saga_id}.calls", f"{key} {what}")
    words = fails.split()
    if what in words or (f"{what}?" in words and context.attempt == 1):
        raise OutOfStock(what)
    new = folder / f"{key}.{os.getpid()}.new"
    new.write_text(f"{time.time_ns()} {key} {what}\n")
    try:
        os.link(new, folder / f"{key}.effect")
    except FileExistsError:
        # It was done before.
        pass
    new.unlink()
    striking.come_past(context.saga_id, f"after {what}")
    return what


def _append(path: Path, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


@orchestrator("parcel")
class Parcel(Orchestrator):
    """Eight steps: in place, a group, a routed one, a wait, a pivot. ``fails``: names of what fails, "?" at first."""

    @step
    def reserve(self, context: Context, fails: str = "") -> str:
        return ask_service(context, "reserve", fails)

    @reserve.rollback
    def release(self, context: Context, result: str) -> None:
        ask_service(context, "-reserve", context.inputs["fails"])

    @step(group="check")
    def left(self, context: Context, fails: str = "") -> str:
        return ask_service(context, "left", fails)

    @left.rollback
    def undo_left(self, context: Context, result: str) -> None:
        ask_service(context, "-left", context.inputs["fails"])

    @step(group="check")
    def right(self, context: Context, fails: str = "") -> str:
        return ask_service(context, "right", fails)

    @right.rollback
    def undo_right(self, context: Context, result: str) -> None:
        ask_service(context, "-right", context.inputs["fails"])

    @step(queue=QUEUE, retry=RetryPolicy(max_retries=1, backoff=dt.timedelta(milliseconds=50), jitter=False),
          compensation_retry=NO_RETRY)  # fmt: skip
    def ship(self, context: Context, fails: str = "") -> str:
        return ask_service(context, "ship", fails)

    @ship.rollback
    def call_back(self, context: Context, result: str) -> None:
        ask_service(context, "-ship", context.inputs["fails"])

    approval = signal()

    @step
    def label(self, context: Context, approval: Any, fails: str = "") -> str:
        return ask_service(context, "label", fails)

    @label.rollback
    def peel(self, context: Context, result: str) -> None:
        ask_service(context, "-label", context.inputs["fails"])

    @step(pivot=True)
    def book(self, context: Context, fails: str = "") -> str:
        return ask_service(context, "book", fails)

    @step
    def notify(self, context: Context, fails: str = "") -> str:
        return ask_service(context, "notify", fails)
