"""Who this process is: one id for a worker and all its children."""

from __future__ import annotations

import uuid

_worker_id = uuid.uuid4()


def worker_id() -> uuid.UUID:
    """The id of this worker process; pool children inherit their parent's."""
    return _worker_id


def renew() -> uuid.UUID:
    """Take a new id: for a worker that starts in a process which was another one before."""
    global _worker_id
    _worker_id = uuid.uuid4()
    return _worker_id
