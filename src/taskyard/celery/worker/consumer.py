"""Celery's consumer that no message can stop."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from celery.utils.log import get_logger
from celery.worker import consumer as celery_consumer

from taskyard.celery.messages import MARK, jobs_of
from taskyard.celery.signing import verifier_for
from taskyard.celery.wire.sockets import read_ahead
from taskyard.celery.worker.quarantine import (
    PICKLE,
    errors_of_connection,
    guard,
    limit_inflating,
    odd_word,
    record,
    shown,
)
from taskyard.celery.worker.settler import Foreign, PutBack, settler
from taskyard.celery.worker.step import JobStep
from taskyard.celery.worker.watchdog import broker_connections, cut
from taskyard.errors import ConfigurationError
from taskyard.settings import get_settings

logger = get_logger(__name__)


class Consumer(celery_consumer.Consumer):
    """A message of the wrong shape is logged and dropped; a task unknown here goes back to the table.

    Celery's own consumer dies of a message whose body or headers have an unexpected shape, and the message goes back
    to the queue for the next worker.
    """

    #: Messages that came, of whatever kind; and whether it is waiting for a connection. The watchdog reads both.
    received = 0
    is_connecting = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if PICKLE & set(self.app.conf.accept_content or ()):
            raise ConfigurationError(["workers would accept pickle: remove it from CELERY_ACCEPT_CONTENT"])
        limit_inflating()

    def connection_for_read(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's connection, which survives what it cannot read and takes at once what is there."""
        connection = super().connection_for_read(*args, **kwargs)
        read_ahead(connection)
        guard(connection.transport, errors_of_connection(*self.connection_errors, *self.channel_errors))
        return connection

    def ensure_connected(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's, which tries until it succeeds."""
        self.is_connecting = True
        try:
            return super().ensure_connected(*args, **kwargs)
        finally:
            self.is_connecting = False

    def on_connection_error_after_connected(self, *args: Any, **kwargs: Any) -> None:
        """Give up every connection this one had company of: Celery closes them politely, which may take for ever."""
        cut(broker_connections(self.controller))
        super().on_connection_error_after_connected(*args, **kwargs)

    def cancel_active_requests(self) -> None:
        """Celery's, in the handler of a cold shutdown's signal, which then stops the pool and tells of it last of all.

        A pool that does not come to an end would never be told of: the shutdown is bounded from here on.
        """
        for step in self.controller.steps:
            if isinstance(step, JobStep):
                step.begin_grace()
        super().cancel_active_requests()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's handler, with nothing getting past it."""
        handle = super().create_task_handler(*args, **kwargs)
        passed_on = errors_of_connection(*self.connection_errors, *self.channel_errors)
        verifier = verifier_for(self.app.conf.broker_read_url)

        def on_task_received(message: Any) -> None:
            self.received += 1
            try:
                headers = message.headers
                why = odd_word(headers) if isinstance(headers, dict) else "its headers have the wrong shape"
                if not why and verifier is not None:
                    why = verifier.refusal(message, time.time())
                if why:
                    self.quarantine(message, why)
                    return
                handle(message)
            except passed_on:
                raise
            except Exception as error:  # whatever a message can hold must not stop the worker
                self.quarantine(message, f"{type(error).__name__}: {error}")

        return on_task_received

    def quarantine(self, message: Any, why: str) -> None:
        """Log what a message holds, capped, and drop it: a job's row brings its message again if there is one."""
        record(shown(message), why)
        if not message.acknowledged:
            message.ack_log_error(logger, self.connection_errors)

    def on_foreign_message(self, message: Any) -> None:
        """A task message no row stands behind: with write access to the broker alone, nobody runs a task here.

        With ``TASKYARD["ADOPT_FOREIGN"]`` it becomes a job: for the time producers without Taskyard are still about.
        """
        if get_settings().adopt_foreign:
            # Acknowledged in the event loop, once the row is written.
            done = partial(self.call_soon, message.ack_log_error, logger, self.connection_errors)
            settler().submit(Foreign(self.app, message.decode(), dict(message.headers), _queue_of(message), done))
            return
        self.quarantine(message, "no job stands behind it (it was sent by a program without Taskyard)")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Undecodable."""
        self.quarantine(message, f"it cannot be decoded: {exc}")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Not a task message."""
        self.quarantine(message, "it is not a task message")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task message that cannot be read."""
        self.quarantine(message, f"it cannot be read: {exc}")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A rolling deploy: another worker may know the task, so the row waits in the table."""
        headers = message.headers or {}
        if MARK in headers and isinstance(headers.get("id"), str):
            logger.warning(
                "Task %.255s[%.255s] is not known here; it goes back. Workers import tasks.py of each installed app, "
                "and what CELERY_IMPORTS names", headers.get("task"), headers["id"],
            )  # fmt: skip
            for one in jobs_of(headers):
                settler().submit(PutBack(one, headers["task"]))
            message.ack_log_error(logger, self.connection_errors)
        else:
            self.on_foreign_message(message)


def _queue_of(message: Any) -> str:
    return str((message.delivery_info or {}).get("routing_key") or "")
