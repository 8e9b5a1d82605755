"""The transport: ``taskyard://`` as kombu sees it."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, ClassVar

import kombu.exceptions
from django.db import connections
from django.db.utils import InterfaceError, OperationalError
from kombu.transport import virtual

from taskyard.celery.broker import channel as broker_channel
from taskyard.celery.broker.intake import Delivery, Mailbox
from taskyard.celery.broker.poller import Poller, poller_for
from taskyard.celery.broker.store import is_usable, perform
from taskyard.settings import get_settings


class Transport(virtual.Transport):
    """A connection to the broker in one Django database.

    Deliveries arrive through a :class:`Mailbox` that the process's poller fills; its bell wakes Celery's event loop,
    or whoever waits in :meth:`drain_events`.
    """

    Channel = broker_channel.Channel
    driver_type = "django"
    driver_name = "django"
    default_connection_params: ClassVar[dict[str, Any]] = {}
    connection_errors: ClassVar[tuple[type[Exception], ...]] = (  # type: ignore[assignment, misc]
        *virtual.Transport.connection_errors,
        OperationalError,
        InterfaceError,
    )
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset({"direct", "topic", "fanout"}), heartbeats=False
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.alias = _alias(client.hostname)
        self.pid = os.getpid()
        self.mailbox = Mailbox()
        #: Channel of each consumer, by tag.
        self.consumers: dict[str, broker_channel.Channel] = {}
        self._loop: Any = None
        self._loop_thread: int | None = None

    @property
    def poller(self) -> Poller:
        """This process's, for our database."""
        return poller_for(self.alias)

    def driver_version(self) -> str:
        """For reports."""
        import django

        return django.get_version()

    def establish_connection(self) -> Transport:
        """Connects to the database if this thread has no working connection; raises Django's error if it cannot."""
        perform(self.alias, self._connect)
        return self

    def _connect(self) -> None:
        is_usable(self.alias)
        connections[self.alias].ensure_connection()

    def verify_connection(self, connection: Any) -> bool:
        """Whether the calling thread's database connection works; a broken one is closed."""
        return True if self.is_in_event_loop() else perform(self.alias, lambda: is_usable(self.alias))

    def create_channel(self, connection: Any) -> broker_channel.Channel:
        """A new channel."""
        channel = self.Channel(self)
        self.channels.append(channel)
        return channel

    def close_connection(self, connection: Any) -> None:
        """Close all channels; what they had in hand is given back."""
        for channel in list(self.channels):
            channel.close()
        self._leave_event_loop()
        self.mailbox.close()

    def _collect(self, connection: Any) -> None:
        # kombu's way to drop a connection, in a forked child above all: channels there are the parent's.
        if connection is not None:
            self.close_connection(connection)

    # With an event loop.

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have ``loop`` deliver what arrives."""
        self._loop, self._loop_thread = loop, threading.get_ident()
        loop.add_reader(self.mailbox.bell.fileno(), self._deliver_all)

    def is_in_event_loop(self) -> bool:
        """Whether the caller is the event loop this connection belongs to: it must not wait for a database."""
        return self._loop_thread == threading.get_ident() and self.pid == os.getpid()

    def _leave_event_loop(self) -> None:
        loop, self._loop, self._loop_thread = self._loop, None, None
        if loop is not None and self.pid == os.getpid():
            loop.remove_reader(self.mailbox.bell.fileno())

    def _deliver_all(self) -> None:
        self.mailbox.bell.clear()
        try:
            while delivery := self.mailbox.next():
                self._hand_to_channel(delivery)
        finally:
            if self.mailbox.arrived:
                self.mailbox.bell.ring()

    # Without one.

    def drain_events(self, connection: Any, timeout: float | None = None, **options: Any) -> None:
        """Wait for one message and deliver it; raises ``socket.timeout``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (delivery := self.mailbox.next()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if not self.mailbox.bell.wait(None if left is None else max(0.0, left)) and left is not None and left <= 0:
                raise TimeoutError
        if self.mailbox.arrived:
            self.mailbox.bell.ring()
        self._hand_to_channel(delivery)

    def _hand_to_channel(self, delivery: Delivery) -> None:
        channel = self.consumers.get(delivery.consumer_tag)
        if channel is not None:
            channel.deliver(delivery)


def _alias(host: str | None) -> str:
    # Host names in URLs lose their capitals.
    wanted = host or get_settings().database
    for alias in connections:
        if alias == wanted or alias.lower() == wanted.lower():
            return alias
    raise kombu.exceptions.OperationalError(
        f"The broker address taskyard://{wanted} names a database that DATABASES does not define."
        f" Known: {', '.join(connections)}."
    )
