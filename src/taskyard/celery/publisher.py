"""The one way out: puts messages of the window into the broker, with confirms and a time-out."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from kombu.connection import Connection

from taskyard.celery import broker
from taskyard.celery.broker.poller import poller_for
from taskyard.celery.messages import full_message, thin_message
from taskyard.outbox.outgoing import Outgoing
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

_Message = tuple[str, dict[str, Any], dict[str, Any]]


class BrokerPublisher:
    """Publishes through one connection of its own; after any error it starts with a new one."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._producer: Any = None

    @property
    def app(self) -> Any:
        """The app whose queues and broker are used."""
        from taskyard.celery.application import get_app

        return get_app()

    @property
    def rows_are_messages(self) -> bool:
        """On the database broker a worker reads the queued rows themselves."""
        return bool(broker.is_database(self.app.conf.broker_write_url))

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Publish; the part that was not confirmed."""
        return self._send([(out, thin_message) for out in batch])

    def publish_in_full(self, batch: Sequence[tuple[Outgoing, str, str]]) -> Sequence[Outgoing]:
        """Publish with arguments."""
        return self._send([(out, _full(args, kwargs)) for out, args, kwargs in batch])

    def announce(self, batch: Sequence[Outgoing]) -> None:
        """Wake a consumer of this process that reads the rows; send ``task-sent`` events where they are wanted."""
        if self.rows_are_messages:
            poller_for(get_settings().database).nudge()
        if not self.app.conf.task_send_sent_event:
            return
        try:
            producer = self._ready_producer()
            for out in batch:
                self._dispatcher.publish("task-sent", _sent_event(out), producer, retry=False)
        except Exception as error:  # every broker library raises its own; an event is not worth a job
            logger.debug("task-sent events were not sent: %r", error)
            self.close()

    @cached_property
    def _dispatcher(self) -> Any:
        return self.app.events.Dispatcher(enabled=False)

    def _send(self, batch: Sequence[tuple[Outgoing, Callable[[Outgoing], _Message]]]) -> Sequence[Outgoing]:
        done = 0
        try:
            producer = self._ready_producer()
            with _one_round_trip(producer.channel) as is_pipelined:
                for out, make in batch:
                    self._publish_one(producer, out, make(out))
                    done += not is_pipelined
            done = len(batch)
        except Exception as error:  # every broker library raises its own; all mean "not confirmed"
            logger.warning("publishing stopped after %d of %d messages: %r", done, len(batch), error)
            self.close()
        return [out for out, _ in batch[done:]]

    def _publish_one(self, producer: Any, out: Outgoing, message: _Message) -> None:
        body, headers, properties = message
        exchange, routing_key, declare = self._route(out)
        producer.publish(
            body, exchange=exchange, routing_key=routing_key, declare=declare, headers=headers,
            content_type="application/json", content_encoding="utf-8", delivery_mode=2, retry=False,
            **properties, **self._time_limits(),
        )  # fmt: skip

    def _route(self, out: Outgoing) -> tuple[Any, str, list[Any]]:
        queue = self.app.amqp.queues[out.queue]
        if queue.exchange is None or queue.exchange.type == "direct":
            # The default exchange, as Celery does: the queue's own name, whatever it is bound to.
            return "", queue.name, [queue]
        stored = json.loads(out.message) if out.message else {}
        return queue.exchange, stored.get("routing_key") or queue.routing_key, [queue]

    def _time_limits(self) -> dict[str, Any]:
        assert self._connection is not None
        if self._connection.transport.driver_type != "amqp":
            return {}
        seconds = get_settings().publish_timeout.total_seconds()
        return {"timeout": seconds, "confirm_timeout": seconds}

    def _ready_producer(self) -> Any:
        if self._producer is None:
            seconds = get_settings().publish_timeout.total_seconds()
            connection = self.app.connection_for_write(connect_timeout=seconds)
            options = {**(connection.transport_options or {}), **_transport_limits(connection, seconds)}
            connection.transport_options = options
            connection.ensure_connection(max_retries=1, timeout=seconds)
            self._connection = connection
            self._producer = self.app.amqp.Producer(connection, auto_declare=False)
        return self._producer

    def close(self) -> None:
        """Give the connection up."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.collect(socket_timeout=1.0)


@contextlib.contextmanager
def _one_round_trip(channel: Any) -> Iterator[bool]:
    """On Redis, send every push of the block in one pipeline when it ends.

    If that fails nobody knows which of them arrived: all count as not confirmed, and a duplicate finds its job taken.
    """
    if channel.connection.client.transport.driver_type != "redis":
        yield False
        return
    with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
        channel.conn_or_acquire = lambda client=None: contextlib.nullcontext(pipe)
        try:
            yield True
        finally:
            del channel.conn_or_acquire
        pipe.execute()


def _sent_event(out: Outgoing) -> dict[str, Any]:
    return {
        "uuid": out.task_id, "root_id": out.root, "parent_id": out.parent or None, "name": out.task, "args": "",
        "kwargs": "", "retries": out.attempt, "eta": None, "expires": None, "queue": out.queue, "exchange": "",
        "routing_key": out.queue,
    }  # fmt: skip


def _full(args: str, kwargs: str) -> Callable[[Outgoing], _Message]:
    return lambda out: full_message(out, args, kwargs)


def _transport_limits(connection: Connection, seconds: float) -> dict[str, Any]:
    if connection.transport.driver_type == "amqp":
        return {"confirm_publish": True, "read_timeout": seconds, "write_timeout": seconds}
    if connection.transport.driver_type == "redis":
        return {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return {}
