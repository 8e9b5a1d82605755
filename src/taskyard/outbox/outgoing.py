"""What leaves the table for the broker: everything a worker needs to find the row, and nothing of its arguments."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from taskyard.jobs.rows.sql import Sql

#: Columns of a row that make an :class:`Outgoing`, in order.
COLUMNS = (
    "id, task_id, task, queue, priority, tenant, root, parent, attempt, soft_time_limit, time_limit, message,"
    " available_at"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Outgoing:
    """A job on its way to the broker."""

    id: uuid.UUID
    task_id: str
    task: str
    queue: str
    priority: int
    tenant: str
    root: str
    parent: str
    attempt: int
    soft_time_limit: float | None
    time_limit: float | None
    #: The stored JSON text of Celery's part, or None.
    message: str | None


class Publisher(Protocol):
    """Puts messages into a broker; one implementation per kind."""

    @property
    def rows_are_messages(self) -> bool:
        """True where the queued row itself is the message: nothing can get lost between the two."""
        ...

    def publish(self, batch: Sequence[Outgoing], *, together: int = 1) -> Sequence[Outgoing]:
        """Publish the batch within ``TASKYARD["PUBLISH_TIMEOUT"]``; the part the broker did not confirm.

        Up to ``together`` jobs of one task may share a message. Never raises for a broker that is away: then the whole
        batch comes back.
        """
        ...

    def announce(self, batch: Sequence[Outgoing]) -> None:
        """Tell observers of a batch that is out: never needed for it to run, never fails."""
        ...

    def publish_in_full(self, batch: Sequence[tuple[Outgoing, str, str]]) -> Sequence[Outgoing]:
        """The same with arguments (two JSON texts each), for queues consumed by programs that are not ours."""
        ...


def from_row(sql: Sql, row: Sequence[Any]) -> Outgoing:
    """Build it from :data:`COLUMNS`."""
    job_id = sql.read_uuid(row[0])
    return Outgoing(
        id=job_id,
        task_id=row[1] or str(job_id),
        task=row[2],
        queue=row[3],
        priority=row[4],
        tenant=row[5],
        root=str(sql.read_uuid(row[6])) if row[6] else str(job_id),
        parent=str(sql.read_uuid(row[7])) if row[7] else "",
        attempt=row[8],
        soft_time_limit=row[9],
        time_limit=row[10],
        message=row[11],
    )
