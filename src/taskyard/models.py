"""Every model of Taskyard, gathered from the rooms they live in."""

from taskyard.celery.broker.models import Binding, Message
from taskyard.enqueue.models import TenantPlace
from taskyard.jobs.models import Attempt, Canvas, CanvasPart, Job
from taskyard.outbox.models import OutboxMessage, OutboxNote, QueueSetting, RelayedMessage, RelayRound, TenantSetting
from taskyard.runtime.models import Lease, Worker
from taskyard.schedules.models import Backfill, Occurrence, Schedule, ScheduleVersion

__all__ = [
    "Attempt",
    "Backfill",
    "Binding",
    "Canvas",
    "CanvasPart",
    "Job",
    "Lease",
    "Message",
    "Occurrence",
    "OutboxMessage",
    "OutboxNote",
    "QueueSetting",
    "RelayRound",
    "RelayedMessage",
    "Schedule",
    "ScheduleVersion",
    "TenantPlace",
    "TenantSetting",
    "Worker",
]  # fmt: skip
