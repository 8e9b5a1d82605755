"""Jobs that travel together: claimed at once, run one after another, their ends written together."""

from __future__ import annotations

import dataclasses
import logging
import time
import uuid
from typing import Any

from celery import current_app
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from taskyard.celery.attempt import ending
from taskyard.celery.attempt.answer import Answer
from taskyard.celery.attempt.attempt import Attempt
from taskyard.celery.attempt.connections import discard_left_open, keep_healthy, reset_broken
from taskyard.celery.attempt.executor import Delivery, claim_surely, run, settle_surely
from taskyard.execution.claim import Claim, Said, claim_many, find_claims
from taskyard.execution.outcome import Outcome, Succeeded
from taskyard.execution.settle import Success, settle_many
from taskyard.runtime.faults import fault_point

logger = logging.getLogger(__name__)

#: The first end written after this long takes all with it: so much finished work may run again after a crash. A body
#: that takes longer than that keeps the ends before it waiting for its own.
_LONGEST_UNWRITTEN_SECONDS = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class PackDelivery(Delivery):
    """The delivery of several jobs, which share its token."""

    job_ids: tuple[str, ...] = ()


def execute_pack(delivery: PackDelivery, app: Any = None) -> Answer:
    """Run those of the jobs that can be claimed."""
    app = app or current_app._get_current_object()
    keep_healthy()
    began = time.monotonic()
    claims = _claim_all(app, delivery)
    if len(claims) < len(delivery.job_ids):
        logger.info("%d jobs of a message dropped: not waiting to be run", len(delivery.job_ids) - len(claims))
    fault_point("job.claimed")
    ends = Ends()
    try:
        for owned in claims:
            # Its own turn begins now; the claim was made for all of them.
            run(app, dataclasses.replace(owned, started_at=timezone.now()), delivery, ends.add)
            keep_healthy(after_job=True)
            ends.write_if_due()
    finally:
        ends.write()
        keep_healthy(after_job=True)
    return 0, f"{len(claims)} jobs", time.monotonic() - began


def _claim_all(app: Any, delivery: PackDelivery) -> list[Claim]:
    ids = [uuid.UUID(job_id) for job_id in delivery.job_ids]
    declared = getattr(app.tasks.get(delivery.task), "declared", None)
    is_released = declared is not None and declared.options.unique_until == "start"
    said = Said(delivery.task, None, None, delivery.queues)

    def claim_them() -> list[Claim]:
        worker = uuid.UUID(delivery.worker)
        return claim_many(ids, delivery.token, worker=worker, now=timezone.now(), said=said, release_lock=is_released)

    return claim_surely(delivery.job_id, claim_them, lambda: find_claims(ids, delivery.token))


class Ends:
    """Ends of attempts not written yet; what is more than a plain success is written at once."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Attempt, Success]] = []
        self._began = time.monotonic()

    def add(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt ended."""
        if isinstance(outcome, Succeeded):
            effects = ending.effects(attempt, outcome)
            if not (effects.jobs or effects.steps or effects.report):
                discard_left_open(attempt.blocks)
                self._waiting.append((attempt, Success(attempt.claim, outcome.result, timezone.now())))
                return
            attempt.running.put_back(effects.report)
        _settle_alone(attempt, outcome)

    def write_if_due(self) -> None:
        """Write what has waited for long enough."""
        if time.monotonic() - self._began >= _LONGEST_UNWRITTEN_SECONDS:
            self.write()

    def write(self) -> None:
        """Write everything that is waiting."""
        waiting, self._waiting, self._began = self._waiting, [], time.monotonic()
        if not waiting:
            return
        try:
            settle_many([success for _, success in waiting])
        except (DatabaseError, InterfaceError, ValueError):
            # One that cannot be stored, or a database that is away: each by itself, as surely as ever.
            reset_broken()
            for attempt, success in waiting:
                _settle_alone(attempt, Succeeded(success.result))


def _settle_alone(attempt: Attempt, outcome: Outcome) -> None:
    attempt.running.put_back({"started_at": attempt.claim.started_at})
    settle_surely(attempt, outcome)
