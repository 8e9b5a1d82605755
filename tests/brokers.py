"""What a test does to a broker from outside: look how much waits there, publish a message once more, listen."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import celery
import kombu
from django.db import connections
from kombu import pools
from kombu.exceptions import ChannelError

from taskyard.celery.broker import URL, register
from taskyard.celery.broker.poller import poller_for
from taskyard.celery.messages import outgoing_columns, outgoing_from_row, shared_message, thin_message
from taskyard.jobs.rows.sql import Sql
from tests.workers import Project


@contextmanager
def channel_of(project: Project) -> Iterator[Any]:
    """A kombu channel on the project's broker."""
    register()
    with kombu.Connection(project.broker_url or URL, transport_options={"visibility_timeout": 1}) as connection:
        yield connection.default_channel
    if not project.broker_url:
        poller_for("default").stop()


def waiting(project: Project, queue: str = "celery") -> int:
    """How many messages of a queue are in the broker and in nobody's hands."""
    with channel_of(project) as channel:
        if not project.broker_url:
            # Nobody declares a queue whose messages are the rows themselves.
            return int(channel._size(queue))
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except ChannelError:
            # Not declared yet.
            return 0


def publish_again(project: Project, *job_ids: UUID) -> None:
    """Put the message of a job, or one that several share, into the broker, whatever state they are in."""
    sql = Sql("default")
    statement = f"SELECT {outgoing_columns} FROM taskyard_job WHERE id = %s"
    outs = [outgoing_from_row(sql, sql.query(statement, [sql.uuid(job_id)])[0]) for job_id in job_ids]
    body, headers, properties = shared_message(outs) if len(outs) > 1 else thin_message(outs[0])
    with channel_of(project) as channel:
        kombu.Producer(channel).publish(
            body, routing_key=outs[0].queue, headers=headers, content_type="application/json",
            content_encoding="utf-8", **properties,
        )  # fmt: skip


@contextmanager
def outside(address: str) -> Iterator[celery.Celery]:
    """A plain Celery app on a broker, as monitoring tools make one; an empty address is the database."""
    register()
    app = celery.Celery("outsider", broker=address or URL, set_as_current=False)
    app.conf.broker_connection_retry_on_startup = True
    yield app
    # Nothing of it may wake the poller again: its connection would keep the test database from being dropped.
    app.close()
    pools.reset()
    gc.collect()
    poller_for("default").stop()


@contextmanager
def events_of(app: celery.Celery) -> Iterator[list[dict[str, Any]]]:
    """Events as they arrive, received in a thread."""
    seen: list[dict[str, Any]] = []
    stop, is_listening = threading.Event(), threading.Event()

    def listen() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": seen.append})
            with receiver.consumer_context(wakeup=False) as (own, *_):
                is_listening.set()
                while not stop.is_set():
                    with suppress(TimeoutError):
                        own.drain_events(timeout=0.1)
        # The database broker declares on the caller's own connection.
        connections.close_all()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert is_listening.wait(30)
    try:
        yield seen
    finally:
        stop.set()
        thread.join(30)
