"""The user's function, between Celery's tracer and us: what it raises becomes what we decide."""

from __future__ import annotations

import datetime as dt
import functools
import random
from collections.abc import Callable
from typing import Any

from celery import states
from celery.exceptions import Ignore, Reject
from celery.exceptions import Retry as CeleryRetry
from django.utils import timezone

from taskyard.celery.attempt.attempt import Attempt, Phase, current_attempt
from taskyard.celery.attempt.trouble import describe, stated
from taskyard.errors import Discard, JobCancelled, JobFenced, Retry, Snooze, TaskyardError
from taskyard.execution.outcome import Cancelled, Failed, RetryAt, Snoozed, Trouble
from taskyard.runtime.faults import fault_point
from taskyard.settings import get_settings
from taskyard.tasks.retry import RetryPolicy
from taskyard.tasks.task import Task

#: A task that rejects its message with ``requeue=True`` gets it again after this long, instead of at once for ever.
REQUEUE_WAIT = dt.timedelta(seconds=1)

#: Attempts of a task that raises ``taskyard.Retry`` without having a policy.
_ASKED_ATTEMPTS = RetryPolicy().max_retries + 1


class TaskReportedFailure(TaskyardError):
    """The task returned ``{"success": False}``; its answer is kept as the job's result."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        super().__init__(str(answer.get("error") or answer.get("message") or "the task returned success = False"))


class TaskExited(TaskyardError):
    """The task called ``sys.exit()``."""

    def __init__(self, code: object) -> None:
        super().__init__(f"the task called sys.exit({code!r})")


def guarded(task: Any) -> Callable[..., Any]:
    """``task.run`` that tells the attempt when the body begins and ends, and turns steering into outcomes.

    Outside of an attempt (a direct call, ``apply()``) it is the plain function.
    """
    original = task.run
    declared: Task[Any, Any] | None = getattr(task, "declared", None)

    @functools.wraps(original)
    def run(*args: Any, **kwargs: Any) -> Any:
        attempt = current_attempt()
        if attempt is None or attempt.phase is Phase.BODY or attempt.celery_id != task.request.id:
            return original(*args, **kwargs)
        attempt.phase = Phase.BODY
        try:
            return _checked(original(*args, **kwargs))
        except SystemExit as error:
            if _is_being_terminated(error):
                raise
            raise TaskExited(error.code) from error
        except (Ignore, Reject) as error:
            set_aside(attempt, error, timezone.now())
            raise
        except CeleryRetry:
            raise
        except Exception as error:
            steer(attempt, declared, error, timezone.now())
            attempt.raised, attempt.expected = error, task.throws
            raise
        finally:
            attempt.phase = Phase.UNWINDING
            fault_point("body.ended")

    return run


def _is_being_terminated(error: SystemExit) -> bool:
    # billiard's signal handlers exit with -(256 - signal): a time limit or a terminate() ends this process, and whoever
    # sent the signal settles the job.
    return isinstance(error.code, int) and -256 < error.code <= -192


def _checked(answer: Any) -> Any:
    if isinstance(answer, dict) and answer.get("success") is False and get_settings().fail_on_success_false:
        raise TaskReportedFailure(answer)
    return answer


def set_aside(attempt: Attempt, error: Ignore | Reject, now: dt.datetime) -> None:
    """Decide what Celery's ``Ignore`` and ``Reject`` mean for the row; the broker never learns of a ``Reject``.

    An ignored task ends as it said by ``update_state()`` before: failed, revoked, else succeeded without a result.
    """
    if isinstance(error, Reject):
        if error.requeue:
            attempt.verdict = Snoozed(now + REQUEUE_WAIT, "rejected by the task, to be run again")
        else:
            attempt.verdict = Failed(Trouble("Reject", str(error.reason or ""), "rejected"))
    elif attempt.custom_state == states.FAILURE:
        attempt.verdict = Failed(stated(attempt.custom_meta))
    elif attempt.custom_state == states.REVOKED:
        attempt.verdict = Cancelled("ignored", "the task set its own state to REVOKED")


def steer(attempt: Attempt, declared: Task[Any, Any] | None, error: Exception, now: dt.datetime) -> None:
    """Decide what an exception of the body means; raises what tells Celery's tracer the same.

    Returns for an error that ends the job: the tracer then fails it, with errbacks and all.
    """
    claim = attempt.claim
    if isinstance(error, Discard):
        attempt.verdict = Cancelled("discarded", str(error))
    elif isinstance(error, JobCancelled):
        attempt.verdict = Cancelled("cancelled", str(error))
    elif isinstance(error, JobFenced):
        # Whatever is decided here is refused anyway: the job belongs to another attempt.
        attempt.verdict = Cancelled("fenced", str(error))
    elif isinstance(error, Snooze):
        until = now + error.until if isinstance(error.until, dt.timedelta) else error.until
        attempt.verdict = Snoozed(until)
    else:
        wait = _retry_wait(declared, error, claim.attempt, claim.max_attempts)
        if wait is None:
            return
        attempt.verdict = RetryAt(now + wait, describe(error), extends=claim.attempt >= claim.max_attempts)
        raise CeleryRetry(exc=error, when=wait.total_seconds()) from error
    raise Ignore(str(error)) from error


def _retry_wait(
    declared: Task[Any, Any] | None, error: Exception, attempt: int, max_attempts: int
) -> dt.timedelta | None:
    if isinstance(error, Retry):
        # A task without a policy that asks for a retry by itself gets as many as a policy gives by default.
        allowed = max_attempts if declared is not None and declared.options.retry.max_retries else _ASKED_ATTEMPTS
        wait = error.after if error.after is not None else _policy_wait(declared, attempt, max_attempts)
        return wait if attempt < max(allowed, max_attempts) else None
    if declared is None or attempt >= max_attempts or not declared.options.retry.wants(error):
        return None
    return _policy_wait(declared, attempt, max_attempts)


def _policy_wait(declared: Task[Any, Any] | None, attempt: int, max_attempts: int) -> dt.timedelta:
    if declared is None:
        return dt.timedelta(0)
    policy = declared.options.retry
    retry = policy.max_retries - (max_attempts - attempt) + 1
    return policy.wait(max(1, retry), random.random())
