"""Every model of Taskyard, gathered from the rooms they live in."""

from taskyard.batches.models import Batch, BatchTally
from taskyard.celery.broker.models import Binding, Message
from taskyard.enqueue.models import TenantPlace
from taskyard.failures.models import Failure, FailureGroup
from taskyard.jobs.models import Attempt, Canvas, CanvasPart, Job
from taskyard.operations.models import ApiToken, AuditEntry
from taskyard.outbox.models import OutboxMessage, OutboxNote, QueueSetting, RelayedMessage, RelayRound, TenantSetting
from taskyard.runtime.models import Lease, Worker
from taskyard.sagas.models import Saga, SagaEvent, SagaPlan, SagaSignal, SagaStep
from taskyard.schedules.models import Backfill, Occurrence, Schedule, ScheduleVersion

__all__ = [
    "ApiToken",
    "Attempt",
    "AuditEntry",
    "Backfill",
    "Batch",
    "BatchTally",
    "Binding",
    "Canvas",
    "CanvasPart",
    "Failure",
    "FailureGroup",
    "Job",
    "Lease",
    "Message",
    "Occurrence",
    "OutboxMessage",
    "OutboxNote",
    "QueueSetting",
    "RelayRound",
    "RelayedMessage",
    "Saga",
    "SagaEvent",
    "SagaPlan",
    "SagaSignal",
    "SagaStep",
    "Schedule",
    "ScheduleVersion",
    "TenantPlace",
    "TenantSetting",
    "Worker",
]  # fmt: skip
