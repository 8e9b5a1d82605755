"""The connections that carry the window, without a worker around them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import kombu
import pytest
import redis

from taskyard.celery.messages import MARK
from taskyard.celery.wire.sockets import read_ahead
from taskyard.celery.wire.window import carry
from taskyard.testing.proxy import Proxy
from tests.servers import wait_until


@pytest.fixture
def consumer(redis_url: str) -> Iterator[tuple[kombu.Connection, Any, list[Any]]]:
    """A connection whose channel carries the window, with room for two messages; and what came."""
    with kombu.Connection(redis_url, transport_options={"brpop_timeout": 20}) as connection:
        carry(connection.transport)
        channel, came = connection.channel(), []
        channel.basic_qos(0, 2, False)
        with kombu.Consumer(
            channel, [kombu.Queue("window", routing_key="window")], on_message=came.append, accept=["json"]
        ):
            yield connection, channel, came
            for message in came:
                message.ack()


def _turn(connection: kombu.Connection) -> None:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.05)


def _send(redis_url: str, name: str) -> None:
    with kombu.Connection(redis_url) as other:
        other.Producer().publish({}, routing_key="window", headers={MARK: 1, "id": name})


def test_a_message_that_comes_when_the_room_is_gone_goes_back_instead_of_lying_in_the_socket(
    redis_url: str, consumer: tuple[kombu.Connection, Any, list[Any]]
) -> None:
    connection, channel, came = consumer
    _send(redis_url, "first")
    wait_until(lambda: _turn(connection) or came, 10, "the first message comes")
    # There is room for another one: it is asked for.
    wait_until(lambda: _turn(connection) or channel._in_poll, 10, "it asks for the next")
    channel.basic_qos(0, 1, False)

    _send(redis_url, "second")
    with redis.Redis.from_url(redis_url) as client:
        wait_until(lambda: _turn(connection) or client.llen("window") == 1, 10, "others can have it")
    wait_until(lambda: _turn(connection) or not channel._in_poll, 10, "it asks for nothing more")
    assert [message.headers["id"] for message in came] == ["first"]

    came.pop().ack()
    wait_until(lambda: _turn(connection) or came, 10, "it comes once there is room")
    assert [message.headers["id"] for message in came] == ["second"]


def test_one_client_answers_for_all_messages_until_the_connection_is_another(redis_url: str) -> None:
    with kombu.Connection(redis_url) as connection:
        carry(connection.transport)
        channel = connection.channel()
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
            assert first is not channel.client
        channel._disconnect_pools()
        with channel.conn_or_acquire() as third:
            assert third is not first
            assert third.ping()


def test_the_kernel_keeps_the_time_of_a_silent_connection(redis_url: str) -> None:
    options = {"socket_timeout": 0.2, "socket_connect_timeout": 5}
    with Proxy(redis_url) as proxy, kombu.Connection(proxy.url, transport_options=options) as connection:
        carry(connection.transport)
        link = connection.channel()._create_client(asynchronous=True).connection_pool.get_connection()
        for _ in range(2):
            link.connect()
            link.send_command("PING")
            assert link.read_response() == b"PONG"
            # No time-out of Python's: that would ask the kernel before each read.
            assert link._sock.gettimeout() is None

            # Nothing comes through what is open now: it is given up, and the next has the same time.
            assert proxy.half_open() > 0
            link.send_command("PING")
            with pytest.raises(connection.connection_errors):
                link.read_response()
        link.disconnect()


@contextmanager
def _read_from(amqp_url: str) -> Iterator[tuple[kombu.Connection, list[int | None]]]:
    """A connection that reads ahead, and what it asked its socket for: so many bytes, and (None) a time-out."""
    with kombu.Connection(amqp_url) as connection:
        connection.connect()
        link, asked = connection.connection.transport, []
        receive = link._quick_recv
        link._quick_recv = lambda count: asked.append(count) or receive(count)
        time_out = link.having_timeout
        link.having_timeout = lambda seconds: asked.append(None) or time_out(seconds)
        read_ahead(connection)
        yield connection, asked


def _put(connection: kombu.Connection, sizes: list[int]) -> kombu.Queue:
    queue = kombu.Queue("ahead", routing_key="ahead")(connection.channel())
    queue.declare()
    producer = connection.Producer()
    for number, size in enumerate(sizes):
        producer.publish({"number": number, "text": "x" * size}, routing_key="ahead", serializer="json")
    return queue


def test_an_event_loop_reads_at_once_what_rabbitmq_has_sent(amqp_url: str) -> None:
    sizes = [0, 1, 50, 9_000, 200_000, *[10] * 40]
    came: list[Any] = []
    with _read_from(amqp_url) as (connection, asked):
        queue = _put(connection, sizes)

        def drain() -> bool:
            # As kombu's reader does: until there is nothing left.
            with suppress(BlockingIOError, TimeoutError):
                while True:
                    connection.connection.drain_events(timeout=0)
            return len(came) == len(sizes)

        with kombu.Consumer(connection.channel(), [queue], callbacks=[lambda body, _: came.append(body)], no_ack=True):
            asked.clear()
            wait_until(drain, 10, "all have come")
        queue.delete()
    assert [(body["number"], len(body["text"])) for body in came] == list(enumerate(sizes))
    # A message is three frames of three pieces each, and each large one comes in pieces anyway.
    assert 0 < asked.count(None) < 3 * len(sizes) / 2
    assert len(asked) - asked.count(None) < 9 * len(sizes) / 2


def test_whoever_waits_for_one_answer_leaves_what_comes_behind_it_in_the_socket(amqp_url: str) -> None:
    with _read_from(amqp_url) as (connection, _):
        queue = _put(connection, [10] * 5)
        link = connection.connection.transport
        receive = link._quick_recv

        def late(count: int) -> bytes:
            """The answer is read when messages stand behind it."""
            link._quick_recv = receive
            wait_until(lambda: len(link.sock.recv(9000, socket.MSG_PEEK)) > 500, 10, "messages have come, too")
            return receive(count)

        channel = connection.channel()
        link._quick_recv = late
        consumer = channel.basic_consume(queue.name, no_ack=True, callback=lambda _: None)
        assert link._quick_recv is receive
        # `epoll` sees them there.
        assert link._read_buffer == b""
        channel.basic_cancel(consumer)
        queue.delete()
