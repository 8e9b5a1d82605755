"""What the tests of agents share: a publisher that keeps what it is given, and rows in every state."""

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, connections

from taskyard.execution.claim import Claim, claim, new_token
from taskyard.jobs.models import Job
from taskyard.outbox.outgoing import Outgoing
from taskyard.runtime.models import Worker
from tests.servers import wait_until


@dataclass
class Shelf:
    """A publisher without a broker; ``refuses`` is how many messages at the end of a batch it does not confirm."""

    rows_are_messages: bool = False
    refuses: int = 0
    published: list[Outgoing] = field(default_factory=list)
    announced: list[Outgoing] = field(default_factory=list)
    in_full: list[tuple[Outgoing, str, str]] = field(default_factory=list)

    def publish(self, batch: Sequence[Outgoing], *, together: int = 1) -> Sequence[Outgoing]:
        confirmed = len(batch) - min(self.refuses, len(batch))
        self.published += batch[:confirmed]
        return batch[confirmed:]

    def announce(self, batch: Sequence[Outgoing]) -> None:
        self.announced += batch

    def publish_in_full(self, batch: Sequence[tuple[Outgoing, str, str]]) -> Sequence[Outgoing]:
        confirmed = len(batch) - min(self.refuses, len(batch))
        self.in_full += batch[:confirmed]
        return [out for out, _, _ in batch[confirmed:]]

    def ids(self) -> list[uuid.UUID]:
        return [out.id for out in self.published]


def put(now: dt.datetime, **values: Any) -> Job:
    """A row as given; pending, due and of queue ``celery`` unless said otherwise."""
    row = {"task": "app.nothing", "queue": "celery", "created_at": now, "available_at": now, **values}
    return Job.objects.create(id=uuid.uuid4(), **row)


def register(now: dt.datetime, *queues: str, slots: int = 1) -> Worker:
    """A live worker."""
    return Worker.objects.create(
        id=uuid.uuid4(), name="w@host", host="host", pid=1, queues=list(queues), slots=slots, started_at=now,
        heartbeat_at=now,
    )  # fmt: skip


def start(job: Job, now: dt.datetime, worker: uuid.UUID | None = None) -> Claim:
    """Claim a queued job."""
    owned = claim(job.id, new_token(), worker or uuid.uuid4(), now)
    assert owned is not None
    return owned


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Every statement of this thread's connection with its parameters, as it was really executed."""
    seen: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield seen


def and_close(call: Callable[..., Any], *args: Any) -> Any:
    """In another thread: the call, and then its database connections are closed."""
    try:
        return call(*args)
    finally:
        connections.close_all()


def blocked() -> int:
    """How many of this database's connections wait for another one's transaction (PostgreSQL)."""
    with connection.cursor() as cursor:
        # The view stands still within a transaction unless told otherwise.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


def wait_for_blocked(count: int) -> None:
    """Until so many wait for our transaction; elsewhere than on PostgreSQL only the outcome is looked at."""
    if connection.vendor == "postgresql":
        wait_until(lambda: blocked() >= count, 20, f"{count} INSERTs wait")
