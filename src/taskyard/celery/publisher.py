"""The one way out: puts messages of the window into the broker, with confirms and a time-out."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from amqp.exceptions import MessageNacked
from kombu.connection import Connection

from taskyard.celery import broker, signing
from taskyard.celery.broker.poller import poller_for
from taskyard.celery.messages import full_message, pack_message, shared_message, thin_message
from taskyard.outbox.outgoing import Outgoing
from taskyard.settings import get_settings
from taskyard.tasks import registry

logger = logging.getLogger(__name__)

#: Most jobs of one pack, and about how many messages a batch becomes at least: every slot is to get some.
_LARGEST_PACK = 100
_PARCELS_PER_BATCH = 8

_Message = tuple[str, dict[str, Any], dict[str, Any]]
#: Makes the message of jobs that travel together.
_Make = Callable[[Sequence[Outgoing]], _Message]


class BrokerPublisher:
    """Publishes through one connection of its own; after any error it starts with a new one."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._producer: Any = None
        #: Of this connection: how long a publish may take, and where the messages of each queue go.
        self._limits: dict[str, Any] = {}
        self._routes: dict[str, tuple[str, str]] = {}

    @property
    def app(self) -> Any:
        """The app whose queues and broker are used."""
        from taskyard.celery.application import get_app

        return get_app()

    @property
    def rows_are_messages(self) -> bool:
        """On the database broker a worker reads the queued rows themselves."""
        return bool(broker.is_database(self.app.conf.broker_write_url))

    def publish(self, batch: Sequence[Outgoing], *, together: int = 1) -> Sequence[Outgoing]:
        """Publish; the part that was not confirmed. Where messages are signed, each job has one of its own."""
        if get_settings().signing_keys:
            messages = [(out, make(out)) for out, make in signing.signed_messages(batch)]
        else:
            messages = [(parcel[0], make(parcel)) for make, parcel in self._parcels(batch, together)]
        return [] if self._send(messages) else batch

    def _parcels(self, batch: Sequence[Outgoing], together: int = 1) -> Iterator[tuple[_Make, Sequence[Outgoing]]]:
        """The batch in its order, with jobs that may travel together taken together where the first of them stands."""
        parcels: dict[tuple[_Make, str], list[Outgoing]] = {}
        for out in batch:
            make, key = self._company(out, together)
            parcels.setdefault((make, key), []).append(out)
        for (make, _), outs in parcels.items():
            largest = together if make is shared_message else _LARGEST_PACK
            size = min(largest, -(-len(outs) // _PARCELS_PER_BATCH))
            for start in range(0, len(outs), size):
                parcel = outs[start : start + size]
                yield (make if len(parcel) > 1 else _alone), parcel

    def _company(self, out: Outgoing, together: int) -> tuple[_Make, str]:
        # What has been tried before travels alone: if it kills its process, no other job is with it.
        if out.attempt or out.time_limit or out.soft_time_limit or not self._is_direct(out.queue):
            return _alone, str(out.id)
        if self._may_be_packed(out.task):
            return pack_message, f"{out.queue} {out.task}"
        return (shared_message, f"{out.queue} {out.task}") if together > 1 else (_alone, str(out.id))

    def _may_be_packed(self, name: str) -> bool:
        declared = registry.find(name)
        if declared is None or not declared.options.pack:
            return False
        task, conf = self.app.tasks.get(name), self.app.conf
        # What Celery would apply to the whole message.
        limits = (conf.task_time_limit, conf.task_soft_time_limit)
        return task is not None and not any((*limits, task.time_limit, task.soft_time_limit, task.rate_limit))

    def _is_direct(self, queue: str) -> bool:
        exchange = self.app.amqp.queues[queue].exchange
        return exchange is None or exchange.type == "direct"

    def publish_in_full(self, batch: Sequence[tuple[Outgoing, str, str]]) -> Sequence[Outgoing]:
        """Publish with arguments."""
        outs = [out for out, _, _ in batch]
        return [] if self._send([(out, _full(out, args, kwargs)) for out, args, kwargs in batch]) else outs

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

    def _send(self, batch: Sequence[tuple[Outgoing, _Message]]) -> bool:
        try:
            producer = self._ready_producer()
            with _one_round_trip(producer.channel):
                for out, message in batch:
                    self._publish_one(out, message)
        except Exception as error:  # every broker library raises its own; all mean "not confirmed"
            logger.warning("a batch of %d messages was not confirmed: %r", len(batch), error)
            self.close()
            return False
        return True

    def _publish_one(self, out: Outgoing, message: _Message) -> None:
        # What Producer.publish() does for a message that is ready; it costs three times as much.
        body, headers, properties = message
        channel, (exchange, routing_key) = self._producer.channel, self._route(out)
        ready = channel.prepare_message(
            body.encode(), 0, "application/json", "utf-8", headers, {**properties, "delivery_mode": 2}
        )
        channel.basic_publish(ready, exchange=exchange, routing_key=routing_key, **self._limits)

    def _route(self, out: Outgoing) -> tuple[str, str]:
        """Exchange and routing key; sees to it that the queue is there."""
        known = self._routes.get(out.queue)
        if known is not None:
            return known
        queue = self.app.amqp.queues[out.queue]
        self._producer.maybe_declare(queue)
        if queue.exchange is None or queue.exchange.type == "direct":
            # The default exchange, as Celery does: the queue's own name, whatever it is bound to.
            self._routes[out.queue] = "", queue.name
            return "", queue.name
        stored = json.loads(out.message) if out.message else {}
        return queue.exchange.name, stored.get("routing_key") or queue.routing_key

    def _ready_producer(self) -> Any:
        if self._producer is None:
            seconds = get_settings().publish_timeout.total_seconds()
            connection = self.app.connection_for_write(connect_timeout=seconds)
            options = {**(connection.transport_options or {}), **_transport_limits(connection, seconds)}
            connection.transport_options = options
            connection.ensure_connection(max_retries=1, timeout=seconds)
            self._connection = connection
            self._producer = self.app.amqp.Producer(connection, auto_declare=False)
            is_amqp = connection.transport.driver_type == "amqp"
            self._limits = {"timeout": seconds, "confirm_timeout": seconds} if is_amqp else {}
            self._routes = {}
        return self._producer

    def close(self) -> None:
        """Give the connection up."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.collect(socket_timeout=1.0)


def _one_round_trip(channel: Any) -> contextlib.AbstractContextManager[None]:
    """What the block publishes goes out together, and is confirmed when the block ends.

    If that fails nobody knows which of them arrived: all count as not confirmed, and a duplicate finds its job taken.
    """
    kind = channel.connection.client.transport.driver_type
    return {"redis": _in_one_pipeline, "amqp": _with_one_wait}.get(kind, contextlib.nullcontext)(channel)


@contextlib.contextmanager
def _in_one_pipeline(channel: Any) -> Iterator[None]:
    with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
        channel.conn_or_acquire = lambda client=None: contextlib.nullcontext(pipe)
        try:
            yield
        finally:
            del channel.conn_or_acquire
        pipe.execute()


@contextlib.contextmanager
def _with_one_wait(channel: Any) -> Iterator[None]:
    """RabbitMQ confirms in the order of publishing, many at once, while more are published.

    https://www.rabbitmq.com/docs/confirms#publisher-confirms
    """
    if not channel._confirm_selected:
        channel._confirm_selected = True
        channel.confirm_select()
        channel.taskyard_tags = itertools.count(1)
    waiting: set[int] = set()

    def publish(*args: Any, **kwargs: Any) -> Any:
        waiting.add(next(channel.taskyard_tags))
        return channel._basic_publish(*args, **kwargs)

    def confirmed(tag: int, multiple: bool) -> None:
        waiting.difference_update([one for one in waiting if one <= tag] if multiple else (tag,))

    def refused(tag: int, multiple: bool) -> None:
        raise MessageNacked

    usual, channel.basic_publish = channel.basic_publish, publish
    channel.events["basic_ack"].add(confirmed)
    channel.events["basic_nack"].add(refused)
    try:
        yield
        deadline = time.monotonic() + get_settings().publish_timeout.total_seconds()
        while waiting:
            channel.connection.drain_events(timeout=max(0.001, deadline - time.monotonic()))
    finally:
        channel.basic_publish = usual
        channel.events["basic_ack"].discard(confirmed)
        channel.events["basic_nack"].discard(refused)


def _sent_event(out: Outgoing) -> dict[str, Any]:
    return {
        "uuid": out.task_id, "root_id": out.root, "parent_id": out.parent or None, "name": out.task, "args": "",
        "kwargs": "", "retries": out.attempt, "eta": None, "expires": None, "queue": out.queue, "exchange": "",
        "routing_key": out.queue,
    }  # fmt: skip


def _alone(outs: Sequence[Outgoing]) -> _Message:
    return thin_message(outs[0])


def _full(out: Outgoing, args: str, kwargs: str) -> _Message:
    body, headers, properties = full_message(out, args, kwargs)
    signing.sign(body, headers, properties=properties)
    return body, headers, properties


def _transport_limits(connection: Connection, seconds: float) -> dict[str, Any]:
    if connection.transport.driver_type == "amqp":
        return {"confirm_publish": True, "read_timeout": seconds, "write_timeout": seconds}
    if connection.transport.driver_type == "redis":
        return {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return {}
