"""Every model of Taskyard, gathered from the rooms they live in."""

from taskyard.celery.broker.models import Binding, Message
from taskyard.jobs.models import Attempt, Canvas, CanvasPart, Job
from taskyard.outbox.models import QueueSetting
from taskyard.runtime.models import Lease, Worker

__all__ = ["Attempt", "Binding", "Canvas", "CanvasPart", "Job", "Lease", "Message", "QueueSetting", "Worker"]
