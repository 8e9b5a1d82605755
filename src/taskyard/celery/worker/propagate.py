"""What follows a failure that no tracer saw: errbacks, failed chain steps, chord counts, with Celery's own rules."""

from __future__ import annotations

import datetime as dt

from celery.app.task import Context

from taskyard.celery.worker import ending
from taskyard.celery.worker.attempt import Attempt, Phase, attempting
from taskyard.celery.worker.executor import Delivery, restore
from taskyard.execution.claim import Claim
from taskyard.execution.outcome import Cancelled, Failed, Outcome
from taskyard.execution.settle import settle
from taskyard.jobs.running import RunningJob


def settle_failure(owned: Claim, outcome: Outcome, error: BaseException, now: dt.datetime) -> bool:
    """Settle an attempt whose child is gone; a final failure takes its canvas along."""
    if not isinstance(outcome, (Failed, Cancelled)) or owned.message is None:
        return settle(owned, outcome, now)
    from taskyard.celery.application import get_app

    running = RunningJob(owned.id, owned.task, token=owned.token, attempt=owned.attempt)
    attempt = Attempt(owned, running)
    _, _, request = restore(owned, Delivery(str(owned.id), owned.task, owned.token, str(owned.worker), "", {}))
    with attempting(attempt):
        get_app().backend.mark_as_failure(owned.task_id, error, request=Context(request))
        attempt.phase = Phase.SETTLING
        return settle(owned, outcome, now, ending.effects(attempt, outcome))
