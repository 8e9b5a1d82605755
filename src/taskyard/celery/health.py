"""Whether the broker answers, measured by a message that comes back."""

from __future__ import annotations

import datetime as dt
import time
import uuid

from kombu.entity import Exchange, Queue

from taskyard.errors import BrokerUnreachable


def broker_round_trip(timeout: dt.timedelta) -> float:
    """Publish a message to a queue of its own, receive it, and return the seconds that took.

    Raises :class:`~taskyard.errors.BrokerUnreachable`.
    """
    from taskyard.celery.application import get_app

    seconds = timeout.total_seconds()
    name = f"taskyard.doctor.{uuid.uuid4().hex}"
    queue = Queue(name, Exchange(""), routing_key=name, auto_delete=True, durable=False, expires=60)
    connection = get_app().connection_for_write(connect_timeout=seconds)
    try:
        with connection:
            connection.ensure_connection(max_retries=0, timeout=seconds)
            started = time.perf_counter()
            simple = connection.SimpleQueue(queue)
            try:
                simple.put("ping")
                simple.get(timeout=seconds).ack()
            finally:
                queue.bind(connection.default_channel).delete()
                simple.close()
            return time.perf_counter() - started
    except Exception as error:  # each broker library raises its own
        raise BrokerUnreachable(connection.as_uri(), str(error) or type(error).__name__) from error
