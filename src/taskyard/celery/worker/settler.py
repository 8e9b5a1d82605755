"""Ends attempts in the place of children that are gone: off the event loop, once they are surely dead."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import logging
import os
import pathlib
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from billiard.exceptions import TimeLimitExceeded
from celery.app.task import Context
from celery.exceptions import Terminated
from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.utils import timezone

from taskyard.celery.attempt import ending
from taskyard.celery.attempt.attempt import Attempt, Phase, attempting
from taskyard.celery.attempt.executor import Delivery, restore
from taskyard.celery.attempt.trouble import describe
from taskyard.execution.claim import Claim, find_claim
from taskyard.execution.outcome import Cancelled, Failed, Outcome, RetryAt, Trouble, lost
from taskyard.execution.settle import settle
from taskyard.jobs.rows.sql import Sql
from taskyard.jobs.running import RunningJob
from taskyard.runtime.wakeup import WORK_WRITTEN, wake
from taskyard.settings import get_settings
from taskyard.tasks import registry

logger = logging.getLogger(__name__)

#: How long a killed child may take to disappear before its job is left to the rescuer.
_DEATH_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Death:
    """A child that ended without settling its job."""

    job_id: uuid.UUID
    token: int
    pid: int | None
    error: BaseException
    #: Killed by us because the grace period of a shutdown was over.
    is_released: bool
    #: Several jobs had that child one after another: nobody knows which of them it died of.
    is_shared: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class PutBack:
    """A job that this worker cannot run: its row goes back to the table, for a while or to be published at once."""

    job_id: uuid.UUID
    task: str
    wait: dt.timedelta = dt.timedelta(seconds=5)


@dataclasses.dataclass(frozen=True, slots=True)
class Foreign:
    """A message of a program without Taskyard that is to become a job (``ADOPT_FOREIGN``)."""

    app: Any
    body: Any
    headers: dict[str, Any]
    queue: str
    #: Called once the row is written.
    done: Callable[[], object]

    @property
    def job_id(self) -> str:
        """What to call it in the log."""
        return str(self.headers.get("id"))


class Settler(threading.Thread):
    """One thread of the worker's main process with a database connection of its own."""

    def __init__(self) -> None:
        super().__init__(name="taskyard-settler", daemon=True)
        self.work: queue.SimpleQueue[Death | PutBack | Foreign | None] = queue.SimpleQueue()

    def submit(self, item: Death | PutBack | Foreign) -> None:
        """Settle it soon."""
        self.work.put(item)

    def finish(self, timeout: float) -> None:
        """Settle what is left and end."""
        self.work.put(None)
        if self.is_alive():
            self.join(timeout)

    def run(self) -> None:
        """Until :meth:`finish`."""
        while (item := self.work.get()) is not None:
            self._until_done(item)
        connections.close_all()

    def _until_done(self, item: Death | PutBack | Foreign) -> None:
        wait = 0.1
        while True:
            try:
                return handle(item)
            except (OperationalError, InterfaceError) as error:
                logger.warning("the end of job %s waits for the database: %s", item.job_id, error)
                with contextlib.suppress(DatabaseError, InterfaceError):
                    connections[get_settings().database].close()
            except Exception as error:
                logger.exception("the end of job %s cannot be written as it was meant", item.job_id)
                give_up(item, error)
                return None
            threading.Event().wait(wait)
            wait = min(wait * 2, 5.0)


def give_up(item: Death | PutBack | Foreign, error: Exception) -> None:
    """What cannot be settled as meant must not hold up what comes after it."""
    if isinstance(item, Foreign):
        item.done()
    elif isinstance(item, Death):
        with contextlib.suppress(DatabaseError, InterfaceError):
            owned = find_claim(item.job_id, item.token)
            if owned is not None:
                settle(owned, Failed(describe(error, ending.UNSETTLEABLE)), timezone.now())


def handle(item: Death | PutBack | Foreign) -> None:
    """Write the end of one job."""
    sql = Sql(get_settings().database)
    now = timezone.now()
    if isinstance(item, Foreign):
        call = {"eta": item.headers.get("eta"), "expires": item.headers.get("expires"), "queue": item.queue}
        item.app.seam.take_in([item.app.seam.read(item.body, item.headers, call, {})])
        item.done()
        return
    if isinstance(item, PutBack):
        _put_back(sql, item, now)
        return
    if item.pid is not None and not _wait_for_death(item.pid):
        logger.error("process %s does not die; its job %s is left to the rescuer", item.pid, item.job_id)
        return
    owned = find_claim(item.job_id, item.token)
    if owned is None:
        # It died before it claimed: nothing started, the row only needs its message again.
        sql.change(item.job_id, "state = 'pending', due = %s, worker = NULL", "state = 'queued'", [True])
        return
    settle_failure(owned, outcome(item, owned), item.error, now)


def _put_back(sql: Sql, item: PutBack, now: dt.datetime) -> None:
    # Only if that is its task: a forged message moves no row.
    guard = "state = 'queued' AND task = %s"
    if item.wait:
        later = sql.time(now + item.wait)
        sql.change(item.job_id, "state = 'pending', due = %s, available_at = %s", guard, [False, later, item.task])
    elif sql.change(item.job_id, "state = 'pending', publishes = 0", guard, [item.task]):
        wake(WORK_WRITTEN)


def outcome(death: Death, owned: Claim) -> Outcome:
    """What a child's death means for its job."""
    now = timezone.now()
    if death.is_released:
        trouble = Trouble("Released", "given back by a worker that was stopping", "released")
        return RetryAt(now, trouble, counts=False)
    if isinstance(death.error, Terminated):
        return Cancelled("terminated", str(death.error))
    if isinstance(death.error, TimeLimitExceeded):
        return _over_time(death.error, owned)
    trouble = dataclasses.replace(describe(death.error), type="WorkerLost", reason="child-lost")
    if "signal 9" in trouble.message:
        # Billiard only knows the number; nobody but the kernel kills a pool's children like that.
        trouble = dataclasses.replace(trouble, message=f"killed by signal 9, likely out of memory ({trouble.message})")
    # One of several is not to blame for certain; it runs alone from now on.
    poison_after = get_settings().poison_after
    return lost(trouble, crashes=owned.crashes, is_crash=not death.is_shared, poison_after=poison_after, now=now)


def _over_time(error: TimeLimitExceeded, owned: Claim) -> Outcome:
    says = f"it was ended after {error.args[0]:g} s, its time limit"
    trouble = dataclasses.replace(describe(error), type="TimeLimitExceeded", message=says)
    declared = registry.find(owned.task)
    if declared is None or owned.attempt >= owned.max_attempts or not declared.options.retry.wants(error):
        return Failed(trouble)
    policy = declared.options.retry
    wait = policy.wait(max(1, policy.max_retries - (owned.max_attempts - owned.attempt) + 1), 0.5)
    return RetryAt(timezone.now() + wait, trouble)


def _wait_for_death(pid: int) -> bool:
    give_up = time.monotonic() + _DEATH_SECONDS
    while not is_gone(pid):
        if time.monotonic() > give_up:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        threading.Event().wait(0.02)
    return True


def is_gone(pid: int) -> bool:
    """Whether a child of this process runs no more (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = pathlib.Path(f"/proc/{pid}/stat")
    with contextlib.suppress(OSError, IndexError):
        state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        # Another parent: the number was given to somebody else meanwhile.
        return state in ("Z", "X") or parent != str(os.getpid())
    return False


def settle_failure(owned: Claim, outcome: Outcome, error: BaseException, now: dt.datetime) -> bool:
    """Settle an attempt whose child is gone; a final failure takes its canvas along."""
    if not isinstance(outcome, (Failed, Cancelled)) or owned.message is None:
        return settle(owned, outcome, now)
    from taskyard.celery.application import get_app

    running = RunningJob(owned.id, owned.task, token=owned.token, attempt=owned.attempt)
    attempt = Attempt(owned, running)
    _, _, request = restore(owned, Delivery(str(owned.id), owned.task, owned.token, str(owned.worker), "", {}))
    with attempting(attempt):
        get_app().backend.mark_as_failure(owned.task_id, error, request=Context(request))
        attempt.phase = Phase.SETTLING
        return settle(owned, outcome, now, ending.effects(attempt, outcome))


_settler: Settler | None = None


def settler() -> Settler:
    """This process's settler, started when first needed."""
    global _settler
    if _settler is None or not _settler.is_alive():
        _settler = Settler()
        _settler.start()
    return _settler
