"""Redis as the carrier of the window: what the table knows, Redis need not be told.

kombu writes every message it took from a list into a second place, where it stays until it is acknowledged, so that
it comes back should the consumer die: four commands and two round trips for each message. A job's message has its row
to come back from, published again by the sweep. So it is only taken, several at once where there is room, and given
back to its list when its consumer leaves. Messages of others are treated as kombu does.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from queue import Empty
from typing import Any

from kombu.transport.virtual import QoS as VirtualQoS
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from taskyard.celery.messages import MARK
from taskyard.celery.worker.quarantine import KEPT_BYTES, record
from taskyard.celery.worker.sockets import timed_by_kernel


def carry(transport: Any) -> None:
    """Have the channels of a consumer's Redis transport carry the window like this; others stay as they are."""
    if transport.driver_type == "redis" and hasattr(transport.Channel, "_brpop_read"):
        transport.Channel = _window_channel(transport.Channel)


@lru_cache
def _window_channel(kind: Any) -> Any:
    # Composed when asked for: the Redis library need not be installed.
    qos = type("WindowQoS", (_InHand, kind.QoS), {})
    return type("WindowChannel", (_Taking, kind), {"QoS": qos})


class _InHand:
    """Part of a channel's quality of service: keeps the messages of jobs in memory only."""

    channel: Any
    _delivered: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._of_jobs: dict[str, Any] = {}

    def can_consume(self) -> bool:
        # What was asked for while there was room is read, whatever became of the room: its answer may hold a message,
        # and while it lies in the socket nobody else can have that.
        return bool(self.channel._in_poll) or self.has_room()

    def has_room(self) -> bool:
        """Whether another message may be in hand."""
        return bool(super().can_consume())  # type: ignore[misc]

    def append(self, message: Any, delivery_tag: str) -> None:
        if MARK not in message.headers:
            super().append(message, delivery_tag)  # type: ignore[misc]
            return
        self._of_jobs[delivery_tag] = message
        VirtualQoS.append(self, message, delivery_tag)  # type: ignore[arg-type]

    def ack(self, delivery_tag: str) -> None:
        if self._of_jobs.pop(delivery_tag, None) is None:
            super().ack(delivery_tag)  # type: ignore[misc]
        else:
            VirtualQoS.ack(self, delivery_tag)  # type: ignore[arg-type]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        message = self._of_jobs.pop(delivery_tag, None)
        if message is None:
            super().reject(delivery_tag, requeue)  # type: ignore[misc]
            return
        if requeue:
            self._give_back([message])
        VirtualQoS.ack(self, delivery_tag)  # type: ignore[arg-type]

    def restore_unacked(self, client: Any = None) -> Any:
        mine, self._of_jobs = self._of_jobs, {}
        self._give_back(list(mine.values()))
        for tag in mine:
            self._delivered.pop(tag, None)
        return super().restore_unacked(client)  # type: ignore[misc]

    def _give_back(self, messages: list[Any]) -> None:
        channel = self.channel
        with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            # The last taken first: it was behind the others.
            for message in reversed(messages):
                info, priority = message.delivery_info, channel._get_message_priority(message._raw, reverse=False)
                for queue in channel._lookup(info["exchange"], info["routing_key"]):
                    pipe.rpush(channel._q_for_pri(queue, priority), dumps(message._raw))
            pipe.execute()


class _Taking:
    """Part of a channel: takes what there is room for in one round trip."""

    client: Any
    connection: Any
    connection_errors: Any
    conn_or_acquire: Any
    pool: Any
    qos: Any
    sep: str
    _shared: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        # kombu makes one for each acknowledgement, with a copy of the table of all replies. It holds nothing of its
        # own: connections are the pool's, and that is another one after a reconnect.
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]
        if self._shared is None or self._shared.connection_pool is not self.pool:
            self._shared = super()._create_client()  # type: ignore[misc]
        return self._shared

    def _connparams(self, *args: Any, **options: Any) -> Any:
        if getattr(self.connection, "client", None) is None:
            # A late acknowledgement, or the second half of a close. kombu's own code fails with an AttributeError,
            # which no caller takes for a lost connection: the worker would end.
            raise ConnectionResetError("the connection of this channel is closed")
        params = super()._connparams(*args, **options)  # type: ignore[misc]
        return {**params, "connection_class": timed_by_kernel(params["connection_class"])}

    def _brpop_read(self, **options: Any) -> bool:
        try:
            answer = self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            # The next turn of the event loop connects again.
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
        if not answer:
            raise Empty
        key, item = bytes_to_str(answer[0]), answer[1]
        self._flush_brpop_reauth()  # type: ignore[attr-defined]
        if not self.qos.has_room():
            with self.conn_or_acquire() as client:
                client.rpush(key, item)
            raise Empty
        queue = key.rsplit(self.sep, 1)[0]
        # Nobody takes more for a consumer that is leaving.
        is_taken = queue in self._active_queues and not self._closing  # type: ignore[attr-defined]
        items = [item, *self._take_more(key)] if is_taken and _is_of_a_job(item) else [item]
        self._queue_cycle.rotate(queue)  # type: ignore[attr-defined]
        self._hand_over(items, queue, key)
        return True

    def _take_more(self, key: str) -> list[bytes]:
        # The one that came is not in hand yet.
        room = self.qos.can_consume_max_estimate()
        try:
            return self.client.rpop(key, room - 1) or [] if room and room > 1 else []
        except self.connection_errors:
            self.client.connection.disconnect()
            return []

    def _hand_over(self, items: list[bytes], queue: str, key: str) -> None:
        left = deque(items)
        try:
            while left:
                payload = _payload(left.popleft())
                if payload is not None:
                    self.connection._deliver(payload, queue)
        finally:
            if left:
                # The connection is gone: others may have these.
                with self.conn_or_acquire() as client:
                    client.rpush(key, *reversed(left))


def _payload(item: bytes) -> Any:
    try:
        return loads(bytes_to_str(item))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        record(repr(item)[:KEPT_BYTES], f"it is no message at all ({type(error).__name__}: {error})")
        return None


def _is_of_a_job(item: bytes) -> bool:
    # Cheap, and wrong at worst for a message that quotes our mark: then more are taken than kombu would.
    return f'"{MARK}"'.encode() in item
