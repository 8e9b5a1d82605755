"""Celery's consumer that no message can stop."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.utils.log import get_logger
from celery.worker import consumer as celery_consumer

from taskyard.celery.messages import MARK
from taskyard.celery.worker.settler import Foreign, Unknown, settler
from taskyard.jobs.ids import job_id
from taskyard.settings import get_settings

logger = get_logger(__name__)

#: How much of a message that cannot be used is kept, in the log.
QUARANTINE_BYTES = 4096


class Consumer(celery_consumer.Consumer):
    """A message of the wrong shape is logged and dropped; a task unknown here goes back to the table.

    Celery's own consumer dies of a message whose body or headers have an unexpected shape, and the message goes back
    to the queue for the next worker.
    """

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's handler, with nothing getting past it."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            try:
                if not isinstance(message.headers, dict) or not isinstance(message.headers.get("task", ""), str):
                    self.quarantine(message, "its headers have the wrong shape")
                    return
                handle(message)
            except self.connection_errors + self.channel_errors:
                raise
            except Exception as error:  # whatever a message can hold must not stop the worker
                self.quarantine(message, f"{type(error).__name__}: {error}")

        return on_task_received

    def quarantine(self, message: Any, why: str) -> None:
        """Log what a message holds, capped, and drop it: a job's row brings its message again if there is one."""
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="replace")
        half = QUARANTINE_BYTES // 2
        shown = f"headers {message.headers!r:.{half}}, body {body[:half]!r}"
        logger.error("Message dropped, %.500s: %s", why, shown[:QUARANTINE_BYTES])
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
            logger.warning("Task %.255s[%.255s] is not known here; it goes back", headers.get("task"), headers["id"])
            settler().submit(Unknown(job_id(headers["id"])))
            message.ack_log_error(logger, self.connection_errors)
        else:
            self.on_foreign_message(message)


def _queue_of(message: Any) -> str:
    return str((message.delivery_info or {}).get("routing_key") or "")
