"""Everything about one job, and why it waits. ``tenant`` is who is looking, as in :mod:`taskyard.jobs.queries`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Q

from taskyard.jobs import queries
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.redaction import shown
from taskyard.jobs.states import LANE_DUE, State
from taskyard.runtime.models import Lease, Worker
from taskyard.settings import get_settings

#: Jobs that are counted to say why one waits.
_MOST_COUNTED = 10_000
_IN_TABLE = frozenset({State.PENDING, State.RETRYING})
#: Why a job was put back without its body having been called, and what is said of its tenant then.
NOT_ENTERED = {"tenant-not-ready": "is not ready", "tenant-unknown-yet": "could not be asked for"}


@dataclasses.dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt that did not succeed."""

    number: int
    error_type: str
    error_message: str
    traceback: str
    worker: uuid.UUID | None
    started_at: dt.datetime | None
    ended_at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class JobDetail:
    """Everything about one job."""

    #: Every column by name, arguments and results without secrets.
    fields: Mapping[str, Any]
    attempts: tuple[AttemptView, ...]
    #: How many jobs its attempts enqueued, by state; of very many, among the first 10,000.
    children: Mapping[str, int]
    #: Name of the worker that runs it or ran it last, while that worker is registered.
    worker_name: str
    #: Why it does not run now; empty for a job that runs or has ended.
    waits_because: str


@dataclasses.dataclass(frozen=True, slots=True)
class HeldBack:
    """What operators said of a queue and a tenant, as far as it holds their jobs back now: sentences, or nothing."""

    #: Nothing of them starts at all.
    stopped: str = ""
    #: They have as many out, or start as often, as they may.
    limited: str = ""


#: Of a queue and a tenant.
HowHeld = Callable[[str, str], HeldBack]


def find_job(job_id: uuid.UUID, now: dt.datetime, *, held_back: HowHeld, tenant: str | None = None) -> JobDetail | None:
    """Everything about one job, or None. ``held_back`` is asked about its queue and its tenant."""
    job = Job.objects.visible_to(tenant).filter(id=job_id).first()
    if job is None:
        return None
    family = Job.objects.visible_to(tenant).filter(root=job.root or job.id, parent=job.id)
    worker = Worker.objects.using(get_settings().database).filter(id=job.worker).first() if job.worker else None
    attempts = Attempt.objects.using(get_settings().database).filter(job_id=job.id).order_by("number", "id")
    columns = tuple(field.name for field in dataclasses.fields(AttemptView))
    return JobDetail(
        fields=shown({field.attname: getattr(job, field.attname) for field in Job._meta.concrete_fields}),
        attempts=tuple(AttemptView(**row) for row in attempts.values(*columns)),
        children=dict(Counter(family.values_list("state", flat=True)[:_MOST_COUNTED])),
        worker_name=worker.name if worker else "",
        waits_because=_waits_because(job, now, held_back, is_operator=tenant is None),
    )


def _waits_because(job: Job, now: dt.datetime, held_back: HowHeld, *, is_operator: bool) -> str:
    if job.is_final or job.state == State.RUNNING:
        return ""
    if job.state == State.WAITING:
        return "its body handed over to other jobs and ends with the last of them"
    if job.state in _IN_TABLE and job.available_at > now:
        return _its_time(job)
    held = held_back(job.queue, job.tenant) if job.state in _IN_TABLE else HeldBack()
    if held.stopped:
        return held.stopped
    consumers = [w for w in queries.worker_overview(now) if job.queue in w.queues and w.state == "alive"]
    if not consumers:
        return f"no live worker consumes queue {job.queue!r}: start one with `taskyard worker -Q {job.queue}`"
    if not is_operator:
        # How busy the others are is not a tenant's to know.
        is_out = job.state == State.QUEUED
        return held.limited or ("its message is in the broker" if is_out else "its turn in the queue has not come")
    busy, slots = sum(w.running for w in consumers), sum(w.slots for w in consumers)
    if job.state == State.QUEUED:
        return f"its message is in the broker; {busy} of {slots} slots of queue {job.queue!r} are busy"
    if not has_feeder(job.queue, now):
        return "no feeder acts for its queue: is AGENTS switched off? Start `taskyard scheduler`"
    if held.limited:
        return held.limited
    due = Job.objects.visible_to(None).filter(lane=LANE_DUE, queue=job.queue)
    # Which of them are ahead of it is told by looking at each.
    is_long = due[: _MOST_COUNTED + 1].count() > _MOST_COUNTED
    long = f"more than {_MOST_COUNTED:,} due jobs stand in its queue"
    ahead = 0 if is_long else _ahead(job)
    few = f"{ahead:,} due {'job of its queue is' if ahead == 1 else 'jobs of its queue are'} older or more urgent"
    return f"{long if is_long else few}; {busy} of {slots} slots of its queue are busy"


def _its_time(job: Job) -> str:
    at = f"{job.available_at:%Y-%m-%d %H:%M:%S} UTC"
    if job.state == State.PENDING and job.publishes:
        # Whatever else takes a job back counts its messages anew.
        return f"a worker that does not know task {job.task!r} gave it back; looked at again at {at}"
    error = job.error or {}
    says = NOT_ENTERED.get(error.get("reason", ""))
    # An attempt whose body put the job back left a record: then what the row says is of an earlier one.
    if says is None or job.attempts.filter(number=job.attempt).exists():
        return f"its time has not come: {at}"
    return f"its tenant {job.tenant!r} {says} ({error.get('message') or error.get('type')}); looked at again at {at}"


def _ahead(job: Job) -> int:
    earlier = Q(available_at__lt=job.available_at) | Q(available_at=job.available_at, id__lt=job.id)
    before = Q(priority__gt=job.priority) | (Q(priority=job.priority) & earlier)
    return Job.objects.visible_to(None).filter(before, lane=LANE_DUE, queue=job.queue).count()


def has_feeder(queue: str, now: dt.datetime) -> bool:
    """Whether a feeder holds the lease of this queue."""
    leases = Lease.objects.using(get_settings().database)
    return leases.filter(name=f"feeder:{queue}", expires_at__gt=now).exists()
