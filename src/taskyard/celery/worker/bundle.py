"""Short jobs handed to a pool's child several at a time.

The pool needs longer to hand a job over and to hear of its end than a job of a millisecond takes. Requests that wait
for a slot are handed over with the one whose turn it is, if their tasks were short lately. Each is claimed when its
turn comes, run and settled by itself, so a child that dies takes one job with it, and what it had not begun goes back.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, WorkerLostError
from celery.utils.log import get_logger

from taskyard.celery.attempt.answer import Answer, exception_info
from taskyard.celery.attempt.executor import Delivery, execute

if TYPE_CHECKING:
    from taskyard.celery.worker.request import JobRequest

logger = get_logger(__name__)

#: About so much work is handed over at once, of tasks whose bodies took less than this on average.
_WORK_SECONDS = 0.01
_SHORT_SECONDS = 0.005
_MOST = 16
#: A bundle that is not through after this long has a job that was not short: the others may go elsewhere.
_STUCK_SECONDS = 0.25

#: What a child answers for each job, or the error that kept it from claiming or settling it.
Ends = list[Answer | ExceptionInfo]


class RunTimes(dict[str, float]):
    """Mean seconds of the bodies of each task, the latest counting most."""

    def note(self, task: str, seconds: float) -> None:
        """One more."""
        known = self.get(task)
        self[task] = seconds if known is None else known + (seconds - known) / 8


run_times = RunTimes()


def size(mean_seconds: float | None, waiting: int, slots: int) -> int:
    """How many jobs to hand over at once: a pure rule. Every slot is to get its part of those that wait."""
    if mean_seconds is None or mean_seconds > _SHORT_SECONDS:
        return 1
    share = -(-(waiting + 1) // max(1, slots))
    return max(1, min(_MOST, share, int(_WORK_SECONDS / max(mean_seconds, 1e-6))))


def execute_bundle(deliveries: Sequence[Delivery]) -> Ends:
    """In the child: run them one after another."""
    ends: Ends = []
    for delivery in deliveries:
        try:
            ends.append(execute(delivery))
        except Exception as error:
            ends.append(exception_info(error))
    return ends


class Bundle:
    """Requests that one child runs one after another, in one slot of the pool."""

    #: Those of this process that are not through.
    live: set[Bundle] = set()

    def __init__(self, requests: Sequence[JobRequest]) -> None:
        self.requests = requests
        self.sent_at = time.monotonic()
        self.is_stuck = False

    def send(self, pool: Any) -> Any:
        """Hand them to the pool."""
        Bundle.live.add(self)
        return pool.apply_async(
            execute_bundle, args=([request.delivery() for request in self.requests],),
            accept_callback=self._accepted, callback=self._through, error_callback=self._lost,
            correlation_id=str(uuid.uuid4()),
        )  # fmt: skip

    def _accepted(self, pid: int, time_accepted: float) -> None:
        for request in self.requests:
            request.on_accepted(pid, time_accepted)

    def _through(self, ends: Ends, **_: Any) -> None:
        Bundle.live.discard(self)
        for request, end in zip(self.requests, ends, strict=True):
            if isinstance(end, ExceptionInfo):
                request.on_failure(end)
            else:
                request.on_success(end)

    def _lost(self, exc_info: Any, **_: Any) -> None:
        Bundle.live.discard(self)
        error = exc_info.exception
        is_terminated = isinstance(getattr(error, "exc", error), Terminated)
        for request in self.requests:
            if is_terminated and not request.is_terminating:
                # Its child was killed because of another job.
                request.is_released = True
                request.on_failure(exception_info(WorkerLostError("its child was terminated for another job")))
            else:
                request.on_failure(exc_info)

    def let_go(self) -> None:
        """Let other workers have what is not through; the message of the job that runs finds it taken."""
        self.is_stuck = True
        # The first one's message stays: it stands for the slot, or this worker would take the next one in its place.
        for request in self.requests[1:]:
            if not request.acknowledged:
                request.on_reject(logger, request.connection_errors, True)
                request.acknowledged = True


def take_along(first: JobRequest, waiting: deque[Any], slots: int) -> list[JobRequest]:
    """Take out of those that wait for a slot who goes with ``first``."""
    taken: list[JobRequest] = []
    most = size(run_times.get(first.name), len(waiting), slots) if first.can_be_bundled else 1
    while waiting and len(taken) < most - 1:
        (request,) = waiting[0][1]
        if not getattr(request, "can_be_bundled", False) or size(run_times.get(request.name), 1, 1) < 2:
            break
        waiting.popleft()
        taken.append(request)
    return taken


def let_go_of_the_stuck() -> None:
    """Called now and then by the event loop."""
    now = time.monotonic()
    for bundle in list(Bundle.live):
        if not bundle.is_stuck and now - bundle.sent_at > _STUCK_SECONDS:
            bundle.let_go()
