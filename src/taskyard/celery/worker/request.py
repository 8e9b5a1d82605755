"""A job's message in the worker's main process: handed to the pool, its child's death noticed and settled."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
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

from taskyard.celery.attempt.answer import Answer, ignored
from taskyard.celery.attempt.executor import Delivery, execute
from taskyard.celery.attempt.pack import PackDelivery, execute_pack
from taskyard.celery.messages import MARK, PACK, SCHEMA, SHARE, TENANT, headers_of_each, jobs_of
from taskyard.celery.signing import SIGNATURE, digest_of
from taskyard.celery.worker import bundle, prefetch
from taskyard.celery.worker.settler import Death, PutBack, settler
from taskyard.celery.worker.shutdown import give_back
from taskyard.execution.claim import new_token
from taskyard.jobs import ids
from taskyard.jobs.redaction import redact_text
from taskyard.runtime.identity import worker_id
from taskyard.settings import get_settings

logger = get_logger(__name__)

#: All that a thin message has.
_HEADERS = frozenset(
    {
        MARK,
        PACK,
        TENANT,
        SCHEMA,
        SIGNATURE,
        "lang",
        "task",
        "id",
        "root_id",
        "parent_id",
        "retries",
        "timelimit",
        "argsrepr",
        "kwargsrepr",
        "origin",
    }
)
#: Characters of the longest id a row can hold.
_MAX_ID = 255


class JobRequest(Request):
    """Celery's request whose end is written by the child that ran it, or by the settler if that child is gone.

    Nothing here touches the database: on evented transports these callbacks run in the worker's event loop.
    """

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        self.job_ids = jobs_of(self._request_dict)
        self._is_pack = self._request_dict.get(PACK) is not None
        self.token = new_token()
        self.is_released = self.is_terminating = False
        #: Requests that wait for a slot of the pool, and how many slots there are; None where there is no such list.
        self.queue: tuple[Any, int] | None = None
        #: How to give back what has not begun, without the detour through the event loop.
        self.reject_now = message.reject_log_error
        self._is_dead = False

    def execute_using_pool(self, pool: Any, **kwargs: Any) -> Any:
        """Send the delivery to the pool; the claim happens there."""
        fellows = bundle.take_along(self, *self.queue) if self.queue is not None else []
        if fellows:
            return bundle.Bundle([self, *fellows]).send(pool)
        hard, soft = _limits(self)
        delivery = self.delivery()
        # Only the prefork pool tells this process what becomes of an error that leaves the executor.
        run = execute_any if type(pool).__module__ == "celery.concurrency.prefork" else execute_here
        result = pool.apply_async(
            run, args=(delivery,), accept_callback=self.on_accepted, timeout_callback=self.on_timeout,
            callback=self.on_success, error_callback=self.on_failure, soft_timeout=soft, timeout=hard,
            correlation_id=self.id,
        )  # fmt: skip
        self._apply_result = ref(result) if result is not None else None
        return result

    @property
    def can_be_bundled(self) -> bool:
        """Whether it may be handed to a child together with others: nothing but its own end is to end it."""
        return self.queue is not None and not any(_limits(self)) and len(self.job_ids) == 1

    def on_success(self, failed__retval__runtime: Answer, **kwargs: Any) -> Any:
        """Its child says that it is settled."""
        failed, _, runtime = failed__retval__runtime
        if not failed:
            bundle.run_times.note(self.name, runtime)
        return super().on_success(failed__retval__runtime, **kwargs)

    def delivery(self) -> Delivery:
        """What the child is told."""
        info = {k: v for k, v in self._delivery_info.items() if k != "priority"}
        ids, about = tuple(map(str, self.job_ids)), (self._type, self.token, str(worker_id()), self._hostname, info)
        if self._is_pack:
            return PackDelivery(self.id, *about, queues=consumed_queues(self._app), job_ids=ids)
        return Delivery(
            ids[0], *about, limits=tuple(self.time_limits), queues=consumed_queues(self._app),
            digest=digest_of(self._request_dict),
        )  # fmt: skip

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
        # A limit of the pool speaks of one job: those that were to share it get it each to themselves.
        is_released = self.is_released or (self._is_pack and isinstance(error, TimeLimitExceeded))
        for job_id in self.job_ids:
            settler().submit(Death(job_id, self.token, pid, error, is_released, is_shared=self._is_pack))
        self.acknowledge()
        self.send_event("task-failed", exception=repr(error), traceback="")

    def send_event(self, type: str, **fields: Any) -> None:
        """To whoever watches the broker: without what looks like a secret. Celery's name for it."""
        if self._eventer and self._eventer.enabled:
            told = {name: redact_text(value) if isinstance(value, str) else value for name, value in fields.items()}
            super().send_event(type, **told)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        # terminate(): the child gets the signal; what it means is decided when it is gone.
        self.send_event("task-revoked", terminated=terminated, signum=signum, expired=expired)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Kill the child that runs it; its job is cancelled."""
        if not self._is_dead:
            self.is_terminating = True
            super().terminate(pool, signal or TERM_SIGNAME)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Celery's cold shutdown (SIGQUIT, a second Ctrl-C) takes the child away: nobody cancelled its job."""
        give_back(self)


class SharedMessage:
    """A message that several short jobs share: a request for each, acknowledged when the last of them is through.

    A job that is to run elsewhere goes back to the table, it alone and at once: the whole message would bring along
    what has been run.
    """

    def __init__(self, jobs: int, ack: Callable[..., object]) -> None:
        self._left, self._ack = jobs, ack
        # In pools of threads several requests end at once.
        self._lock = threading.Lock()

    def through(self, logger: Any, errors: Any) -> None:
        """One of the requests is acknowledged."""
        with self._lock:
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._ack(logger, errors)

    def give_back(self, job_id: uuid.UUID, task: str, logger: Any, errors: Any, requeue: bool = False) -> None:
        """One of the requests is rejected; called as Celery calls a message's own."""
        if requeue:
            settler().submit(PutBack(job_id, task, wait=dt.timedelta(0)))
        self.through(logger, errors)


def execute_any(delivery: Delivery) -> Answer:
    """Run what a message brought: one job, or several."""
    return execute_pack(delivery) if isinstance(delivery, PackDelivery) else execute(delivery)


def execute_here(delivery: Delivery) -> Answer:
    """The same for pools inside this process: what could not be claimed or settled goes to the settler."""
    try:
        return execute_any(delivery)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        for job_id in delivery.job_ids if isinstance(delivery, PackDelivery) else (delivery.job_id,):
            is_shared = isinstance(delivery, PackDelivery)
            settler().submit(
                Death(uuid.UUID(job_id), delivery.token, None, error, is_released=False, is_shared=is_shared)
            )
        return ignored("left to the settler")


def consumed_queues(app: Any) -> tuple[str, ...]:
    """Logical names of the queues this worker consumes: a job of another queue is not for it, whatever came.

    Empty where an exchange of the project's spreads one job's message over several queues.
    """
    queues = app.amqp.queues.consume_from.values()
    if any(queue.exchange is not None and queue.exchange.type != "direct" for queue in queues):
        return ()
    return tuple(queue.alias or queue.name for queue in queues)


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
        about = {"task": task, "app": app, "hostname": hostname, "eventer": eventer,
                 "connection_errors": consumer.connection_errors}  # fmt: skip
        for request in _read(message, ack, reject, **about):
            accept(request, callbacks)

    def accept(request: JobRequest, callbacks: Any) -> None:
        request.queue = prefetch.queue_of(consumer)
        logger.info("Task %s[%s] received", request.name, request.id)
        signals.task_received.send(sender=consumer, request=request)
        request.send_event(
            "task-received", name=request.name, args=request.argsrepr, kwargs=request.kwargsrepr,
            root_id=request.root_id, parent_id=request.parent_id, retries=request.request_dict.get("retries", 0),
            eta=None, expires=None,
        )  # fmt: skip
        bucket = None if consumer.disable_rate_limits else consumer.task_buckets[task.name]
        if bucket:
            consumer._limit_task(request, bucket, 1)
            return
        task_reserved(request)
        for callback in callbacks or ():
            callback(request)
        consumer.on_task_request(request)

    return on_message


def _read(message: Any, ack: Any, reject: Any, **about: Any) -> list[JobRequest]:
    try:
        return list(_requests(message, ack, reject, **about))
    except Exception as error:  # whatever a forged header holds must not stop the worker
        raise InvalidTaskError(f"{type(error).__name__}: {error}") from error


def _requests(message: Any, ack: Any, reject: Any, **about: Any) -> Iterator[JobRequest]:
    if message.headers.get(SHARE) is None:
        yield _request(message, message.headers, on_ack=ack, on_reject=reject, **about)
        return
    if get_settings().signing_keys or message.headers.get(PACK) is not None:
        raise ValueError("a signed message, or a pack, is not shared by others")
    parts = headers_of_each(message.headers)
    shared = SharedMessage(len(parts), ack)
    for headers in parts:
        give_back = partial(shared.give_back, ids.job_id(headers["id"]), headers["task"])
        request = _request(message, headers, on_ack=shared.through, on_reject=give_back, **about)
        request.reject_now = give_back
        yield request


def _request(message: Any, headers: Mapping[str, Any], **about: Any) -> JobRequest:
    _check(headers)
    # What a job's message does not have means nothing: its row knows.
    known = {name: value for name, value in headers.items() if name in _HEADERS}
    return JobRequest(message, body=message.body, headers=known, decoded=False, utc=True, **about)


def _check(headers: Mapping[str, Any]) -> None:
    # What would strike only later: in the pool's timers, where it ends the worker.
    limits = headers.get("timelimit") or (None, None)
    if not isinstance(limits, (list, tuple)) or len(limits) != 2 or not all(map(_is_limit, limits)):
        raise ValueError(f"timelimit is {limits!r:.100}")
    pack = headers.get(PACK)
    if pack is not None and get_settings().signing_keys:
        raise ValueError("a signed message has no pack")
    if pack is not None and any(limits):
        # Its jobs have none; the pool would heed these.
        raise ValueError(f"a pack has no time limits, not {limits!r:.100}")
    if not isinstance(headers.get("id"), str) or len(headers["id"]) > _MAX_ID:
        raise ValueError(f"id is {headers.get('id')!r:.100}")


def _is_limit(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (is_number and 0 <= value < threading.TIMEOUT_MAX)
