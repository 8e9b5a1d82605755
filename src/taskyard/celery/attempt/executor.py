"""One attempt, from claim to settle, in the process that runs the body."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from billiard.exceptions import SoftTimeLimitExceeded
from celery import current_app
from celery.app.trace import build_tracer
from celery.exceptions import Reject
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from kombu.utils.json import loads

from taskyard import events
from taskyard.celery.attempt import ending
from taskyard.celery.attempt.answer import Answer, exception_info, ignored, without_secrets
from taskyard.celery.attempt.attempt import Attempt, Phase, attempting
from taskyard.celery.attempt.body import set_aside
from taskyard.celery.attempt.connections import discard_left_open, keep_healthy, reset_broken
from taskyard.celery.attempt.log import cleaner
from taskyard.celery.attempt.owner import as_owner
from taskyard.celery.messages import schema_header
from taskyard.celery.results.cancelled import tell_canvas
from taskyard.celery.signing import arguments_digest
from taskyard.execution.claim import Claim, Said, claim, find_claim
from taskyard.execution.outcome import Cancelled, Failed, Outcome, Snoozed
from taskyard.execution.settle import Effects, settle
from taskyard.jobs.current import entered
from taskyard.jobs.models import Job
from taskyard.jobs.running import RunningJob
from taskyard.jobs.scribe import scribe
from taskyard.runtime.faults import fault_point

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A settle that meets a database that is away is tried again until it comes back: the job's end must not be forgotten.
_LONGEST_WAIT_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """What the parent knows about a message; crosses the pipe to the pool's child."""

    job_id: str
    task: str
    token: int
    worker: str
    hostname: str
    #: Celery's ``delivery_info`` for ``task.request``.
    info: Mapping[str, Any]
    #: Hard and soft time limit as the message says; None where no message came.
    limits: tuple[float | None, float | None] | None = None
    #: Logical queues of the worker, see :class:`~taskyard.execution.claim.Said`.
    queues: tuple[str, ...] = ()
    #: Of the arguments, from a verified signature.
    digest: str = ""
    #: Whoever is answered is in this process: an error reaches it as it was raised.
    is_here: bool = False


def execute(delivery: Delivery, app: Any = None) -> Answer:
    """Run the job a message points to, if it can be claimed; a duplicate is dropped."""
    app = app or current_app._get_current_object()
    keep_healthy()
    task = app.tasks.get(delivery.task)
    unique_until = getattr(getattr(getattr(task, "declared", None), "options", None), "unique_until", "end")
    owned = _claim(delivery, release_lock=unique_until == "start")
    if owned is None:
        logger.info("message of job %s dropped: it is not waiting to be run", delivery.job_id)
        return ignored("not claimed")
    fault_point("job.claimed")
    if delivery.digest and delivery.digest != arguments_digest(owned.args, owned.kwargs):
        return _end_at_once(owned, Snoozed(timezone.now(), "its message was signed for other arguments"))
    try:
        return run(app, owned, delivery)
    finally:
        keep_healthy(after_job=True)


def _claim(delivery: Delivery, *, release_lock: bool) -> Claim | None:
    arguments = (uuid.UUID(delivery.job_id), delivery.token, uuid.UUID(delivery.worker))
    said = Said(delivery.task, *delivery.limits, delivery.queues) if delivery.limits is not None else None

    def claim_it() -> Claim | None:
        return claim(*arguments, timezone.now(), release_lock=release_lock, said=said)

    return claim_surely(delivery.job_id, claim_it, lambda: find_claim(arguments[0], delivery.token))


def claim_surely(what: str, claim_it: Callable[[], T], find_it: Callable[[], T]) -> T:
    """Claim until the database answers; after an error the claim may have committed all the same: then it is ours.

    All or part of it, where several jobs are claimed: what ``find_it`` finds is what counts then.
    """
    wait, is_sure = 0.05, True
    while True:
        try:
            owned = claim_it()
            return owned if is_sure else find_it()
        except (OperationalError, InterfaceError) as error:
            if wait > _LONGEST_WAIT_SECONDS:
                raise
            logger.warning("the claim of job %s waits for the database: %s", what, error)
            is_sure = False
            reset_broken()
            threading.Event().wait(wait)
            wait *= 2


def run(
    app: Any, owned: Claim, delivery: Delivery, finish: Callable[[Attempt, Outcome], object] | None = None
) -> Answer:
    """Run a claimed job and settle it; ``finish`` does that in the place of :func:`settle_surely`."""
    task = app.tasks.get(owned.task)
    now = timezone.now()
    if task is None:
        # What runs is what was committed, whatever the message said; another worker may know it.
        until = now + dt.timedelta(seconds=5)
        return _end_at_once(owned, Snoozed(until, f"task {owned.task!r} is not known to this worker"))
    running = RunningJob(
        owned.id, owned.task, token=owned.token, attempt=owned.attempt, max_attempts=owned.max_attempts,
        root=owned.root, tenant=owned.tenant, checkpoint=owned.checkpoint, counts=owned.counts,
        batch=owned.batch,
    )  # fmt: skip
    attempt = Attempt(owned, running)
    with attempting(attempt), entered(running):
        if owned.expires_at is not None and owned.expires_at <= now:
            attempt.verdict = Cancelled("expired", f"not started by {owned.expires_at.isoformat()}")
            answer = ignored("expired")
        else:
            answer = as_owner(attempt, task, lambda: _attempt(app, task, attempt, delivery))
        if isinstance(attempt.verdict, (Cancelled, Failed)) and owned.message is not None:
            # The tracer says nothing of a task that was ignored, and a chord would wait for it for ever.
            _, _, request = restore(owned, delivery)
            is_failed, reason = isinstance(attempt.verdict, Failed), ending.reason_of(attempt.verdict)
            tell_canvas(app, attempt.celery_id, request, reason, failed=is_failed)
        (finish or settle_surely)(attempt, ending.outcome(attempt, timezone.now()))
    return answer


def _attempt(app: Any, task: Any, attempt: Attempt, delivery: Delivery) -> Answer:
    owned = attempt.claim
    if events.job_started.receivers:
        events.job_started.send_robust(Job, job_id=owned.id, task=owned.task, attempt=owned.attempt)
    try:
        return _trace(app, task, attempt, delivery)
    finally:
        scribe().forget(attempt.running)


def _trace(app: Any, task: Any, attempt: Attempt, delivery: Delivery) -> Answer:
    args, kwargs, request = restore(attempt.claim, delivery)
    trace = task.__trace__ or build_tracer(task.name, task, app.loader, delivery.hostname, app=app)
    try:
        result, info, runtime, text = trace(attempt.celery_id, args, kwargs, request)
    except SoftTimeLimitExceeded as error:
        # It struck outside of the body, in the tracer's own code.
        ending.failed(attempt, error)
        return 1, exception_info(error), 0.0
    except Reject as error:
        # Raised by an on_success or after_return handler, after the body.
        set_aside(attempt, error, timezone.now())
        return ignored("settled")
    if info:
        ending.note(attempt, info.state, info.retval)
    if attempt.verdict is not None and not _is_celery_retry(info):
        return ignored("settled")
    if not info:
        return 0, text, runtime
    told = info.retval if delivery.is_here else without_secrets(result, cleaner())
    return 1, told, runtime or 0.0


def _is_celery_retry(info: Any) -> bool:
    return info is not None and info.state == "RETRY"


def restore(owned: Claim, delivery: Delivery) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Arguments and ``task.request`` as they were when the task was sent."""
    message = loads(owned.message) if owned.message else {}
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None, **message.get("embed", {})}
    args, kwargs = loads(owned.args), loads(owned.kwargs)
    request = {
        "lang": "py", "task": owned.task, "id": owned.task_id, "group": None, "retries": 0,
        "root_id": str(owned.root), "parent_id": str(owned.parent) if owned.parent else None,
        "expires": owned.expires_at.isoformat() if owned.expires_at else None, "eta": None,
        "reply_to": message.get("reply_to", ""), "correlation_id": owned.task_id, "properties": {},
        "replaced_task_nesting": 0, "ignore_result": None, "stamped_headers": None, "stamps": {}, "origin": "taskyard",
        **schema_header(owned.tenant), **message.get("headers", {}), **embed,
        "args": args, "kwargs": kwargs, "hostname": delivery.hostname or socket.gethostname(), "is_eager": False,
        "delivery_info": {"priority": owned.priority, "redelivered": False, **delivery.info},
    }  # fmt: skip
    if request["ignore_result"] is None:
        del request["ignore_result"]
    return args, kwargs, request


def settle_surely(attempt: Attempt, outcome: Outcome) -> bool:
    """Settle until it is decided; False if the attempt is not ours any more."""
    wait = 0.05
    attempt.phase = Phase.SETTLING
    while True:
        effects = ending.effects(attempt, outcome)
        discard_left_open(attempt.blocks)
        try:
            return settle(attempt.claim, outcome, timezone.now(), effects)
        except SoftTimeLimitExceeded as error:
            # It came too late: the body has ended. Settling again is safe, the claim token decides.
            logger.info("soft time limit of job %s struck while its end was written: %s", attempt.claim.id, error)
        except (OperationalError, InterfaceError) as error:
            logger.warning("the end of job %s waits for the database: %s", attempt.claim.id, error)
            attempt.running.put_back(effects.report)
            reset_broken()
            threading.Event().wait(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
        except Exception as error:
            if isinstance(outcome, Failed) and outcome.trouble.reason == ending.UNSETTLEABLE:
                raise
            # What it wanted to write cannot be written: that is how the job ends.
            logger.exception("the end of job %s cannot be written", attempt.claim.id)
            outcome = ending.unsettleable(attempt, error)


def _end_at_once(owned: Claim, outcome: Outcome) -> Answer:
    settle(owned, outcome, timezone.now(), Effects())
    return ignored("settled")
