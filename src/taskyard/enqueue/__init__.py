"""The one way in: a call becomes a row in the caller's transaction, and the feeder is woken after it commits."""

from taskyard.enqueue.databases import INTAKE, alias_of_call, put, put_notice, what_became_of
from taskyard.enqueue.fanout import DueTime, enqueue_for_tenants, enqueue_occurrence
from taskyard.enqueue.many import CHUNK, EnqueueReport, Rejected, enqueue_many
from taskyard.enqueue.once import enqueue_once
from taskyard.enqueue.one import aenqueue, enqueue
from taskyard.enqueue.row import resolve_queue, run_time, seconds
from taskyard.enqueue.writing import control_alias, existing_job, set_off, write

__all__ = [
    "CHUNK",
    "INTAKE",
    "DueTime",
    "EnqueueReport",
    "Rejected",
    "aenqueue",
    "alias_of_call",
    "control_alias",
    "enqueue",
    "enqueue_for_tenants",
    "enqueue_many",
    "enqueue_occurrence",
    "enqueue_once",
    "existing_job",
    "put",
    "put_notice",
    "resolve_queue",
    "run_time",
    "seconds",
    "set_off",
    "what_became_of",
    "write",
]
