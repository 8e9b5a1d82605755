"""A message that several short jobs share: a request for each, acknowledged when the last of them is through."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from typing import Any

from taskyard.celery.worker.settler import PutBack, settler


class SharedMessage:
    """Counts the requests of one message. A job that is to run elsewhere goes back to the table: it alone, and at once.

    Putting the whole message back would bring along what has been run.
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
