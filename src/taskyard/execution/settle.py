"""The end of an attempt: its state, its record and what follows from it, in one transaction."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from django.db import transaction

from taskyard import enqueue, events
from taskyard.batches import changes, tracked
from taskyard.execution import steering
from taskyard.execution.claim import Claim
from taskyard.execution.cleaning import cleaned
from taskyard.execution.outcome import Cancelled, Failed, Outcome, RetryAt, Snoozed, Succeeded, Trouble, Waiting
from taskyard.failures import record
from taskyard.failures.fingerprint import Fault
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.rows.newjob import NewJob
from taskyard.jobs.rows.sql import Sql
from taskyard.jobs.states import FINAL
from taskyard.runtime.faults import fault_point
from taskyard.runtime.wakeup import WORK_WRITTEN, wake
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class Effects:
    """What commits together with the end of an attempt."""

    #: Links, the next step of a chain, callbacks: rows to be written.
    jobs: Sequence[NewJob] = ()
    #: Anything else that writes on the same connection (chord counts); called in order, inside the transaction.
    steps: Sequence[Callable[[str, dt.datetime], None]] = ()
    #: Progress, counts and checkpoint not written yet.
    report: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: State name the task gave itself, kept while it is not final.
    custom_state: str | None = None


def settle(claim: Claim, outcome: Outcome, now: dt.datetime, effects: Effects | None = None) -> bool:
    """End the attempt; False if it is not ours any more (fenced): then nothing was written.

    Whether the worker, a time limit or the rescuer ends it. With effects, or for an attempt that did not succeed, one
    durable transaction; a plain success is one statement whose loss in a database crash means the job runs again.
    """
    effects = effects or Effects()
    outcome = cleaned(claim, outcome)
    alias = get_settings().database
    assign, params = _assignment(Sql(alias), outcome, now, effects)
    fault_point("settle.begin")
    state, is_tracked = state_after(outcome), claim.subject_type in tracked.LABELS
    is_plain = isinstance(outcome, Succeeded) and not effects.jobs and not effects.steps and not is_tracked
    if is_plain:
        moved = _move(alias, claim, assign, params, state=state, weak=True)
    else:
        with transaction.atomic(using=alias):
            moved = _move(alias, claim, assign, params, state=state)
            fault_point("settle.moved")
            if moved:
                _commit_along(alias, claim, outcome, now, effects)
            fault_point("settle.written")
    if not moved:
        _say_fenced(claim)
        return False
    fault_point("settle.done")
    changes.look_if_eager([claim.batch], now)
    if isinstance(outcome, (RetryAt, Snoozed)):
        transaction.on_commit(lambda: wake(WORK_WRITTEN), using=alias)
    events.job_settled.send_robust(Job, job_id=claim.id, task=claim.task, attempt=claim.attempt, state=state)
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Success:
    """An attempt that succeeded and that nothing follows: such ends can be written together."""

    #: Its ``started_at`` is that of this job's own turn.
    claim: Claim
    result: str | None
    finished_at: dt.datetime


def settle_many(successes: Sequence[Success]) -> set[uuid.UUID]:
    """End attempts of one token together; the ids of those that were still ours.

    One statement on PostgreSQL, one for each elsewhere. Its loss in a database crash means that they run again.
    """
    alias = get_settings().database
    if Sql(alias).vendor != "postgresql" or any(one.claim.subject_type in tracked.LABELS for one in successes):
        return {one.claim.id for one in successes if _settle_one(one)}
    fault_point("settle.begin")
    ends = [(one.claim.id, one.claim.started_at, one.finished_at, one.result) for one in successes]
    members = any(one.claim.batch is not None for one in successes)
    settled = Sql(alias).succeed_many(ends, successes[0].claim.token, members=members)
    fault_point("settle.done")
    for one in successes:
        if one.claim.id not in settled:
            _say_fenced(one.claim)
        elif events.job_settled.receivers:
            events.job_settled.send_robust(
                Job, job_id=one.claim.id, task=one.claim.task, attempt=one.claim.attempt, state="succeeded"
            )
    return settled


def _settle_one(one: Success) -> bool:
    return settle(
        one.claim, Succeeded(one.result), one.finished_at, Effects(report={"started_at": one.claim.started_at})
    )


def _say_fenced(claim: Claim) -> None:
    logger.warning("attempt %s of job %s is not ours any more; its end was dropped", claim.attempt, claim.id)


def _move(alias: str, claim: Claim, assign: str, params: list[Any], *, state: str, weak: bool = False) -> bool:
    guard, values = "claim = %s AND state = 'running'", [*params, claim.token]
    if claim.batch is not None and state in FINAL:
        return Sql(alias).end(claim.id, assign, guard, values, state=state, weak=weak)
    return Sql(alias).change(claim.id, assign, guard, values, weak=weak) is not None


def _commit_along(alias: str, claim: Claim, outcome: Outcome, now: dt.datetime, effects: Effects) -> None:
    _record(alias, claim, outcome, now)
    if claim.subject_type in tracked.LABELS:
        tracked.follow([claim.id], alias, now)
    if isinstance(outcome, Failed):
        fault = fault_of(claim.task, outcome.trouble)
        record.failed(fault, job_id=claim.id, tenant=claim.tenant, now=now, alias=alias)
    if effects.jobs:
        if claim.attempt > 1:
            _remove_placeholders(alias, effects.jobs)
        enqueue.write(effects.jobs, alias)
    for step in effects.steps:
        step(alias, now)
    if isinstance(outcome, (RetryAt, Snoozed)):
        _heed_cancel(alias, claim, now)


def _remove_placeholders(alias: str, jobs: Sequence[NewJob]) -> None:
    # Steps that an earlier, failed attempt recorded as never to run; this one succeeded, so they run after all.
    found = Job.objects.using(alias).filter(id__in=[job.id for job in jobs], state="failed", attempt=0)
    ids = list(found.values_list("id", flat=True))
    record.no_longer(ids, alias)
    Job.objects.using(alias).filter(id__in=ids)._raw_delete(alias)


def _heed_cancel(alias: str, claim: Claim, now: dt.datetime) -> None:
    # Asked to stop while it ran: the attempt that would follow does not.
    asked = Sql(alias).query("SELECT cancel_requested_at FROM taskyard_job WHERE id = %s", [Sql(alias).uuid(claim.id)])
    if asked[0][0] is not None:
        steering.cancel([claim.id], now)


def _record(alias: str, claim: Claim, outcome: Outcome, now: dt.datetime) -> None:
    trouble = trouble_of(outcome)
    if trouble is None:
        return
    Attempt.objects.using(alias).create(
        job_id=claim.id, number=claim.attempt, error_type=trouble.type[:255], error_message=trouble.message,
        traceback=trouble.traceback, worker=claim.worker, started_at=claim.started_at, ended_at=now,
    )  # fmt: skip


def fault_of(task: str, trouble: Trouble) -> Fault:
    """What a failure is grouped by."""
    return Fault(task, trouble.type, trouble.reason, trouble.message, trouble.frames)


def trouble_of(outcome: Outcome) -> Trouble | None:
    """What to record about an attempt; None for one that succeeded or is not over."""
    if isinstance(outcome, (RetryAt, Failed)):
        return outcome.trouble
    if isinstance(outcome, Cancelled):
        return Trouble("Cancelled", outcome.message, outcome.reason)
    if isinstance(outcome, Snoozed) and outcome.waits_for is None:
        return Trouble("Snoozed", f"until {outcome.until.isoformat()}", outcome.reason)
    return None


def state_after(outcome: Outcome) -> str:
    """The state an outcome leads to."""
    match outcome:
        case Succeeded():
            return "succeeded"
        case RetryAt():
            return "retrying"
        case Snoozed():
            return "pending"
        case Failed():
            return "failed"
        case Cancelled():
            return "cancelled"
        case Waiting():
            return "waiting"


def _assignment(sql: Sql, outcome: Outcome, now: dt.datetime, effects: Effects) -> tuple[str, list[Any]]:
    values: dict[str, Any] = {"state": state_after(outcome), "custom_state": effects.custom_state or ""}
    values.update(effects.report)
    match outcome:
        case Succeeded():
            values.update(finished_at=now, result=outcome.result, error=None, unique_lock=None, crashes=0)
        case Failed():
            values.update(finished_at=now, result=outcome.result, error=error_of(outcome.trouble), unique_lock=None)
        case Cancelled():
            error = error_of(Trouble("Cancelled", outcome.message, outcome.reason))
            values.update(finished_at=now, error=error, unique_lock=None)
        case Snoozed():
            values.update(available_at=outcome.until, due=outcome.until <= now, publishes=0)
            if outcome.waits_for is not None:
                values["error"] = error_of(outcome.waits_for)
        case RetryAt():
            values.update(_retry_values(outcome, now))
        case Waiting():
            pass
    assign = ", ".join(f"{name} = %s" for name in values)
    if _spends_nothing(outcome):
        assign += ", max_attempts = max_attempts + 1"
    if isinstance(outcome, RetryAt):
        assign += ", crashes = crashes + 1" if outcome.is_crash else ", crashes = 0" if outcome.counts else ""
    return assign, [sql.time(v) if isinstance(v, dt.datetime) else v for v in values.values()]


def _spends_nothing(outcome: Outcome) -> bool:
    return isinstance(outcome, Snoozed) or (isinstance(outcome, RetryAt) and (outcome.extends or not outcome.counts))


def _retry_values(outcome: RetryAt, now: dt.datetime) -> dict[str, Any]:
    replaced = {name: getattr(outcome, name) for name in ("args", "kwargs", "message", "queue")}
    return {
        "available_at": outcome.at,
        "due": outcome.at <= now,
        "publishes": 0,
        "error": error_of(outcome.trouble),
        **{name: value for name, value in replaced.items() if value is not None},
    }


def error_of(trouble: Trouble) -> str:
    """The JSON text that stands in a row's ``error``."""
    return json.dumps({"type": trouble.type, "message": trouble.message, "reason": trouble.reason})
