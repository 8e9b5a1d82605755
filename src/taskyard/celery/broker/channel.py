"""The channel: AMQP's verbs on tables."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from amqp.protocol import queue_declare_ok_t
from django.db.utils import Error
from kombu.exceptions import ChannelError
from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.utils.json import dumps
from kombu.utils.uuid import uuid

from taskyard.celery.broker.bindings import Bindings, Bound
from taskyard.celery.broker.intake import Delivery, Intake, Source
from taskyard.celery.broker.job_rows import JobRows, logical_name
from taskyard.celery.broker.store import Store, TablesMissing, perform
from taskyard.settings import get_settings

if TYPE_CHECKING:
    from taskyard.celery.broker.transport import Transport

#: Seconds an ``auto_delete`` or ``exclusive`` queue without ``x-expires`` outlives a consumer that was killed.
_TRANSIENT_LIFETIME = 60.0
_LEAST, _MOST = -(2**15), 2**15 - 1


class QoS:
    """What kombu asks of a channel's quality of service, kept by the :class:`Intake`."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    @property
    def prefetch_count(self) -> int:
        """Most messages in hand at once; 0: no limit."""
        return self.channel.intake.prefetch

    @prefetch_count.setter
    def prefetch_count(self, count: int) -> None:
        self.channel.intake.prefetch = count or 0
        self.channel.poller.wake()

    def can_consume(self) -> bool:
        """Whether there is room for another message."""
        return not self.prefetch_count or len(self.channel.intake.held()) < self.prefetch_count

    def can_consume_max_estimate(self) -> int | None:
        """For how many; None: no limit."""
        return max(self.prefetch_count - len(self.channel.intake.held()), 0) if self.prefetch_count else None

    def ack(self, delivery_tag: str) -> None:
        """The message is done with."""
        delivery = self.channel.intake.settle(delivery_tag)
        if delivery is not None:
            self.channel.poller.acknowledge(delivery)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop the message, or let somebody else have it."""
        delivery = self.channel.intake.settle(delivery_tag)
        if delivery is None:
            return
        if requeue:
            self.channel.poller.give_back([delivery])
        else:
            self.channel.poller.acknowledge(delivery)

    def restore_unacked(self) -> list[Any]:
        """Give back everything in hand; kombu wants the list of failures."""
        self.channel.poller.give_back(self.channel.intake.empty())
        return []

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """The same; there is nothing that could be restored twice."""
        self.restore_unacked()

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: leases see to that."""


class Channel(virtual.Channel):
    """One channel. Publishing and declaring run on the calling thread's database connection and so belong to its
    transaction; fetching, acknowledging and returning run in the poller's thread. kombu calls the verbs with keywords,
    so their signatures here are narrower than its own.
    """

    QoS = QoS  # type: ignore[assignment]
    supports_fanout = True
    connection: Transport | None

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.alias = connection.alias
        self.pid = os.getpid()
        self.mailbox = connection.mailbox
        self.intake = Intake(self.mailbox)
        self.poller = connection.poller
        self._callbacks: dict[str, Callable[[Any], None]] = {}
        self._topic_routes: dict[tuple[str, str], tuple[float, list[tuple[str, float | None]]]] = {}

    # Declaring.

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        """``expires``, ``message_ttl`` and the like as RabbitMQ spells them."""
        return to_rabbitmq_queue_arguments(arguments or {}, **kwargs)

    def exchange_declare(self, exchange: str | None = None, type: str = "direct", **options: Any) -> None:  # type: ignore[override]
        """Declare it in this process; it exists for others as soon as a queue is bound to it."""
        if options.get("passive") and exchange not in self.state.exchanges:
            if not perform(self.alias, lambda: Bindings(self.alias).has_exchange(exchange or "")):
                raise _not_found("exchange", exchange or "")
            return
        super().exchange_declare(exchange, type, **options)

    def exchange_delete(self, exchange: str, **options: Any) -> None:  # type: ignore[override]
        """Delete it and its bindings; queues stay."""
        perform(self.alias, lambda: Bindings(self.alias).remove_exchange(exchange))
        self.state.exchanges.pop(exchange, None)
        self._forget(lambda bound: bound.exchange == exchange)

    def queue_declare(self, queue: str | None = None, passive: bool = False, **options: Any) -> queue_declare_ok_t:
        """Declare a queue, or with ``passive`` ask how many messages wait in it."""
        queue = queue or f"amq.gen-{uuid()}"
        if passive:
            if not self._has_queue(queue):
                raise _not_found("queue", queue)
            return queue_declare_ok_t(queue, self._size(queue), 0)
        self._bind(_declared(queue, options))
        return queue_declare_ok_t(queue, 0, 0)

    def queue_bind(self, queue: str, exchange: str | None = None, *, routing_key: str = "", **options: Any) -> None:  # type: ignore[override]
        """Send messages of an exchange to the queue."""
        exchange = exchange or "amq.direct"
        kind = self.state.exchanges.get(exchange, {}).get("type", "direct")
        declared = self.mailbox.bound.get(("", queue, queue), Bound(queue, routing_key=queue))
        self._bind(dataclasses.replace(declared, exchange=exchange, kind=kind, routing_key=routing_key or ""))

    def queue_unbind(self, queue: str, exchange: str | None = None, *, routing_key: str = "", **options: Any) -> None:  # type: ignore[override]
        """Undo :meth:`queue_bind`."""
        exchange = exchange or "amq.direct"
        perform(self.alias, lambda: Bindings(self.alias).remove(exchange, routing_key, queue=queue))
        self.mailbox.bound.pop((exchange, routing_key, queue), None)

    def queue_delete(self, queue: str, if_unused: bool = False, *, if_empty: bool = False, **options: Any) -> int:  # type: ignore[override]
        """Delete a queue with its messages; how many those were."""
        if if_empty and self._size(queue):
            return 0
        self._forget(lambda bound: bound.queue == queue)
        return perform(self.alias, lambda: Bindings(self.alias).remove_queue(queue))

    def after_reply_message_received(self, queue: str) -> None:
        """Nothing to do: reply queues go with their consumer."""

    def list_bindings(self) -> list[tuple[str, str, str]]:
        """Queue, exchange and routing key of what this connection declared."""
        return [(bound.queue, bound.exchange, bound.routing_key) for bound in self.mailbox.bindings()]

    def _bind(self, bound: Bound) -> None:
        if self.mailbox.bound.get(bound.key) == bound and bound.lifetime is None:
            return
        perform(self.alias, lambda: Bindings(self.alias).ensure([bound]))
        self.mailbox.bound[bound.key] = bound

    def _forget(self, condition: Callable[[Bound], bool]) -> None:
        for bound in self.mailbox.bindings():
            if condition(bound):
                self.mailbox.bound.pop(bound.key, None)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return perform(self.alias, lambda: Bindings(self.alias).exists(queue))

    def _size(self, queue: str) -> int:
        size = perform(self.alias, lambda: Store(self.alias).size(queue))
        if self._has_jobs(queue):
            size += perform(self.alias, lambda: JobRows(self.alias).size(queue))
        return size

    def _purge(self, queue: str) -> int:
        # Jobs stay: a purge of the broker must not lose what the table promises.
        return perform(self.alias, lambda: Store(self.alias).purge(queue))

    def _has_jobs(self, queue: str) -> bool:
        return self.alias == get_settings().database and logical_name(queue) is not None

    # Publishing.

    def encode_body(self, body: Any, encoding: str | None = None) -> tuple[Any, str]:
        """Text as it is; bytes as base64."""
        if isinstance(body, str):
            return body, "utf-8"
        encoded: tuple[Any, str] = super().encode_body(body, "base64")
        return encoded

    def basic_publish(self, message: dict[str, Any], exchange: str, *, routing_key: str, **options: Any) -> None:  # type: ignore[override]
        """Write the message into every queue it is routed to.

        From the event loop of a worker, which sends only events and replies here, the poller writes it.
        """
        self._inplace_augment_message(message, exchange, routing_key)
        priority = _priority_of(message["properties"])
        ttl = _seconds(message["properties"].get("expiration"))
        write = partial(
            self._write, exchange or "", routing_key or "", payload=dumps(message), priority=priority, ttl=ttl
        )
        if self.connection is not None and self.connection.is_in_event_loop():
            self.poller.later(partial(write, remember=True))
        else:
            perform(self.alias, write)
            self.poller.nudge()

    def _write(
        self, exchange: str, routing_key: str, *, payload: str, priority: int, ttl: float | None, remember: bool = False
    ) -> None:
        routes = self._routes(exchange, routing_key, remember=remember)
        if routes:
            limited = [(queue, min((s for s in (ttl, own) if s is not None), default=None)) for queue, own in routes]
            Store(self.alias).put(limited, payload, priority=priority)

    def _routes(self, exchange: str, routing_key: str, *, remember: bool) -> list[tuple[str, float | None]]:
        declared = self.mailbox.bound.get((exchange, routing_key, routing_key))
        if not exchange and declared is not None and declared.lifetime is None:
            return [(routing_key, declared.message_ttl)]
        # Events come in hundreds a second; a monitor may miss those of its first second.
        is_topic = self.state.exchanges.get(exchange, {}).get("type") == "topic"
        known = self._topic_routes.get((exchange, routing_key)) if remember and is_topic else None
        if known is not None and known[0] > time.monotonic():
            return known[1]
        own = [b for b in self.mailbox.bindings() if exchange and b.exchange == exchange and b.lifetime is None]
        routes = Bindings(self.alias).routes(exchange, routing_key, own=own)
        self._topic_routes[exchange, routing_key] = time.monotonic() + 1.0, routes
        return routes

    # Consuming.

    def basic_consume(  # type: ignore[override]
        self, queue: str, no_ack: bool = False, *, callback: Callable[[Any], None], consumer_tag: str, **options: Any
    ) -> None:
        """Have messages of the queue delivered to ``callback``."""
        declared = self.mailbox.bound.get(("", queue, queue))
        self._callbacks[consumer_tag] = callback
        self._consumers.add(consumer_tag)
        self._tag_to_queue[consumer_tag] = queue
        if self.connection is not None:
            self.connection.consumers[consumer_tag] = self
        is_transient = declared is not None and declared.is_transient
        self.intake.add(Source(consumer_tag, queue, no_ack, is_transient))
        self.poller.attach(self.intake, self)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Deliver nothing more to it; what it was not yet given goes back."""
        if consumer_tag not in self._consumers:
            return
        self._consumers.discard(consumer_tag)
        self._tag_to_queue.pop(consumer_tag, None)
        self._callbacks.pop(consumer_tag, None)
        if self.connection is not None:
            self.connection.consumers.pop(consumer_tag, None)
        source, undelivered = self.intake.remove(consumer_tag)
        if self.pid != os.getpid():
            return
        self.poller.give_back(undelivered)
        if source is not None and source.is_transient:
            self._drop(source.queue)

    def _drop(self, queue: str) -> None:
        if any(source.queue == queue for source in self.intake.sources()):
            return
        self._forget(lambda bound: bound.queue == queue)
        try:
            # Now, not soon: the same queue may be declared again in a moment.
            self.poller.ask(lambda: Bindings(self.alias).remove_queue(queue), timeout=2.0)
        except (Error, TablesMissing, TimeoutError):
            return  # swept away when its lifetime is over

    def deliver(self, delivery: Delivery) -> None:
        """Call the consumer."""
        if self.intake.prefetch == 0:
            self.poller.wake()
        callback = self._callbacks.get(delivery.consumer_tag)
        if callback is not None:
            callback(self.Message(delivery.raw, channel=self))

    def basic_get(self, queue: str, no_ack: bool = False, **options: Any) -> Any:
        """One message, or None."""
        source = Source("", queue, no_ack)
        single = _Single()
        self.poller.ask(lambda: self._get_one(single, source))
        if single.delivery is None:
            return None
        if not no_ack:
            self.intake.hold(single.delivery)
            self.poller.attach(self.intake, self)
        return self.Message(single.delivery.raw, channel=self)

    def _get_one(self, single: _Single, source: Source) -> None:
        if not self.poller.take_messages(single, source, limit=1) and self._has_jobs(source.queue):
            self.poller.take_jobs(single, source, limit=1)

    def close(self) -> None:
        """Leave; what was in hand is given back at once. In a forked child, only forget: it is the parent's."""
        if self.closed:
            return
        self.closed = True
        if self.pid == os.getpid():
            for consumer_tag in list(self._consumers):
                self.basic_cancel(consumer_tag)
            in_hand = self.intake.close()
            self.poller.give_back(in_hand)
            self.poller.detach(self.intake)
            if in_hand:
                self.poller.flush()
        if self.connection is not None:
            self.connection.close_channel(self)


class _Single:
    """An intake for one message that is asked for."""

    delivery: Delivery | None = None

    def accept(self, source: Source, delivery: Delivery) -> bool:
        self.delivery = delivery
        return True


def _declared(queue: str, options: Mapping[str, Any]) -> Bound:
    arguments = options.get("arguments") or {}
    is_transient = bool(options.get("auto_delete") or options.get("exclusive"))
    lifetime = _seconds(arguments.get("x-expires")) or (_TRANSIENT_LIFETIME if is_transient else None)
    ttl = _seconds(arguments.get("x-message-ttl"))
    return Bound(queue, routing_key=queue, message_ttl=ttl, lifetime=lifetime, is_transient=is_transient)


def _seconds(milliseconds: Any) -> float | None:
    return None if milliseconds is None else float(milliseconds) / 1000


def _priority_of(properties: Mapping[str, Any]) -> int:
    try:
        return max(_LEAST, min(int(properties.get("priority") or 0), _MOST))
    except (TypeError, ValueError):
        return 0


def _not_found(what: str, name: str) -> ChannelError:
    return ChannelError(f"NOT_FOUND - no {what} {name!r}", (50, 10), f"Channel.{what}_declare", "404")
