"""A job's message in the worker's main process: handed to the pool, its child's death noticed and settled."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import Any
from weakref import ref

from billiard.common import TERM_SIGNAME
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals
from celery.app.trace import ExceptionWithTraceback
from celery.exceptions import InvalidTaskError, Terminated
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import task_ready, task_reserved
from celery.worker.strategy import default as celery_strategy

from taskyard.celery.messages import MARK
from taskyard.celery.worker.executor import Answer, Delivery, execute, ignored
from taskyard.celery.worker.settler import Death, settler
from taskyard.execution.claim import new_token
from taskyard.jobs.ids import job_id
from taskyard.runtime.identity import worker_id

logger = get_logger(__name__)

#: Characters of the longest id a row can hold.
_MAX_ID = 255


class JobRequest(Request):
    """Celery's request whose end is written by the child that ran it, or by the settler if that child is gone.

    Nothing here touches the database: on evented transports these callbacks run in the worker's event loop.
    """

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        self.job_id = job_id(self.id)
        self.token = new_token()
        self.is_released = False
        self._is_dead = False

    def execute_using_pool(self, pool: Any, **kwargs: Any) -> Any:
        """Send the delivery to the pool; the claim happens there."""
        hard, soft = _limits(self)
        delivery = Delivery(
            str(self.job_id), self._type, self.token, str(worker_id()), self._hostname,
            {k: v for k, v in self._delivery_info.items() if k != "priority"},
        )  # fmt: skip
        # Only the prefork pool tells this process what becomes of an error that leaves the executor.
        run = execute if type(pool).__module__ == "celery.concurrency.prefork" else execute_here
        result = pool.apply_async(
            run, args=(delivery,), accept_callback=self.on_accepted, timeout_callback=self.on_timeout,
            callback=self.on_success, error_callback=self.on_failure, soft_timeout=soft, timeout=hard,
            correlation_id=self.id,
        )  # fmt: skip
        self._apply_result = ref(result) if result is not None else None
        return result

    def revoked(self) -> bool:
        """Never by what this process remembers: a cancelled row cannot be claimed."""
        return False

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """A time limit struck. A hard one is settled by :meth:`on_failure`, which the pool calls as well."""
        if soft:
            logger.warning("Soft time limit (%ss) exceeded for %s[%s]", timeout, self.name, self.id)
        else:
            self._settle_death(TimeLimitExceeded(timeout))

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """The child reported an exception, or is gone."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if return_ok:
            super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=True)
        else:
            # Not the task's own error: the child is gone, or could not even claim or settle.
            self._settle_death(error)

    def _settle_death(self, error: BaseException) -> None:
        if self._is_dead:
            return
        self._is_dead = True
        task_ready(self)
        logger.error("%s[%s]: %s", self.name, self.id, error)
        is_gone = isinstance(error, (WorkerLostError, TimeLimitExceeded, Terminated, SystemExit, KeyboardInterrupt))
        pid = self.worker_pid if is_gone else None
        settler().submit(Death(self.job_id, self.token, pid, error, self.is_released))
        self.acknowledge()
        self.send_event("task-failed", exception=repr(error), traceback="")

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        # terminate(): the child gets the signal; what it means is decided when it is gone.
        self.send_event("task-revoked", terminated=terminated, signum=signum, expired=expired)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Kill the child that runs it; its job is cancelled."""
        if not self._is_dead:
            super().terminate(pool, signal or TERM_SIGNAME)


def execute_here(delivery: Delivery) -> Answer:
    """:func:`execute` for pools inside this process: what could not be claimed or settled goes to the settler."""
    try:
        return execute(delivery)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        settler().submit(Death(uuid.UUID(delivery.job_id), delivery.token, None, error, is_released=False))
        return ignored("left to the settler")


def _limits(request: JobRequest) -> tuple[float | None, float | None]:
    task = request.task
    hard, soft = request.time_limits
    return hard or task.time_limit, soft or task.soft_time_limit


def strategy(task: Any, app: Any, consumer: Any) -> Any:
    """Celery's strategy for our messages; a task's foreign or untracked messages get Celery's own."""
    foreign = celery_strategy(task, app, consumer) if not getattr(task, "tracked", True) else None
    hostname, eventer = consumer.hostname, consumer.event_dispatcher

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
        if foreign is not None:
            return foreign(message, body, ack, reject, callbacks)
        if MARK not in message.headers:
            return consumer.on_foreign_message(message)
        request = _read(message, task=task, app=app, hostname=hostname, eventer=eventer, on_ack=ack, on_reject=reject,
                        connection_errors=consumer.connection_errors)  # fmt: skip
        logger.info("Task %s[%s] received", request.name, request.id)
        signals.task_received.send(sender=consumer, request=request)
        request.send_event(
            "task-received", name=request.name, args=request.argsrepr, kwargs=request.kwargsrepr,
            root_id=request.root_id, parent_id=request.parent_id, retries=request.request_dict.get("retries", 0),
            eta=None, expires=None,
        )  # fmt: skip
        bucket = None if consumer.disable_rate_limits else consumer.task_buckets[task.name]
        if bucket:
            return consumer._limit_task(request, bucket, 1)
        task_reserved(request)
        for callback in callbacks or ():
            callback(request)
        return consumer.on_task_request(request)

    return on_message


def _read(message: Any, **options: Any) -> JobRequest:
    try:
        _check(message.headers)
        return JobRequest(message, body=message.body, headers=dict(message.headers), decoded=False, utc=True, **options)
    except Exception as error:  # whatever a forged header holds must not stop the worker
        raise InvalidTaskError(f"{type(error).__name__}: {error}") from error


def _check(headers: Mapping[str, Any]) -> None:
    # What would strike only later: in the pool's timers, where it ends the worker.
    limits = headers.get("timelimit") or (None, None)
    if not isinstance(limits, (list, tuple)) or len(limits) != 2 or not all(map(_is_limit, limits)):
        raise ValueError(f"timelimit is {limits!r:.100}")
    if not isinstance(headers.get("id"), str) or len(headers["id"]) > _MAX_ID:
        raise ValueError(f"id is {headers.get('id')!r:.100}")


def _is_limit(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (is_number and 0 <= value < threading.TIMEOUT_MAX)
