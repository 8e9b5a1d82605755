"""From what the tracer did to what settle writes."""

from __future__ import annotations

import datetime as dt
from typing import Any

from celery import states

from taskyard import enqueue
from taskyard.celery.attempt.attempt import Attempt
from taskyard.celery.attempt.trouble import describe
from taskyard.celery.seam import Sent, take_over
from taskyard.execution.outcome import Cancelled, Failed, Outcome, RetryAt, Succeeded, Trouble, Waiting
from taskyard.execution.settle import Effects

#: Reason of a job whose end could not be stored as it was meant.
UNSETTLEABLE = "unsettleable"


def outcome(attempt: Attempt, now: dt.datetime) -> Outcome:
    """How the attempt ended: the pure decision over everything it left behind."""
    if attempt.own is not None:
        return _celery_retry(attempt, attempt.own)
    if attempt.was_replaced:
        return Waiting()
    if attempt.verdict is not None:
        return attempt.verdict
    if attempt.trouble is not None:
        return Failed(attempt.trouble, attempt.result)
    return Succeeded(attempt.result)


def _celery_retry(attempt: Attempt, own: Sent) -> RetryAt:
    trouble = attempt.trouble or Trouble("Retry", "retry asked for by the task")
    job = own.job
    return RetryAt(
        job.available_at, trouble, args=job.args, kwargs=job.kwargs, message=job.message, queue=job.queue,
        extends=attempt.claim.attempt >= attempt.claim.max_attempts,
    )  # fmt: skip


def failed(attempt: Attempt, error: BaseException) -> None:
    """The attempt failed with ``error``: nothing it was about to send on success is sent."""
    attempt.followers.clear()
    attempt.steps.clear()
    attempt.trouble = describe(error)


def reason_of(end: Cancelled | Failed) -> str:
    """Why, in a word or a sentence."""
    return end.reason if isinstance(end, Cancelled) else end.trouble.message or end.trouble.reason


def note(attempt: Attempt, state: str, error: Any) -> None:
    """Take over the error the tracer found, for result backends that are not ours and so told us nothing."""
    if attempt.trouble is None and state in (states.FAILURE, states.RETRY):
        cause = getattr(error, "exc", None) if state == states.RETRY else error
        if isinstance(cause, BaseException):
            attempt.trouble = describe(cause)


def unsettleable(attempt: Attempt, error: Exception) -> Outcome:
    """The outcome when the intended one cannot be stored (a text the database refuses, a broken continuation)."""
    failed(attempt, error)
    attempt.running.take_report()
    return Failed(describe(error, UNSETTLEABLE))


def effects(attempt: Attempt, end: Outcome) -> Effects:
    """What commits together with the end."""
    report: dict[str, Any] = attempt.running.take_report()
    is_final = isinstance(end, (Succeeded, Failed, Cancelled))
    custom_state = report.pop("custom_state", None)
    if is_final:
        report.pop("result", None)
    # After a retry or a snooze nothing of this attempt goes on; a canvas that replaces it does.
    goes_on = is_final or isinstance(end, Waiting)
    followers = attempt.followers if goes_on else []
    takers = [one for one in followers if one.takes_over]
    steps = [*(attempt.steps if goes_on else ()), *(_taker(one) for one in takers)]
    return Effects(
        jobs=[one.job for one in followers if not one.takes_over],
        steps=steps,
        report=report,
        custom_state=None if is_final else custom_state,
    )


def _taker(one: Sent) -> Any:
    def step(alias: str, now: dt.datetime) -> None:
        if not take_over(one.job, alias):
            enqueue.write([one.job], alias)

    return step
