"""Names and payloads of what observers may listen to; nothing that must happen hangs on them."""

from __future__ import annotations

from django.dispatch import Signal

#: A job was written. Payload: ``job_id`` (UUID), ``task``, ``queue``, ``tenant``. Sent inside the caller's transaction.
job_enqueued = Signal()
#: An attempt begins. Payload: ``job_id``, ``task``, ``attempt``. Sent in the process that runs the body.
job_started = Signal()
#: An attempt ended and its settle committed. Payload: ``job_id``, ``task``, ``attempt``, ``state`` (the new one).
job_settled = Signal()
#: A worker was taken for lost. Payload: ``worker_id``, ``jobs`` (how many were given back). Sent by the rescuer.
worker_lost = Signal()
