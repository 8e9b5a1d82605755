"""Dramatiq: as it comes, on Redis or on RabbitMQ; no results, no database."""

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from bench import work

_url = os.environ["BENCH_BROKER_URL"]
dramatiq.set_broker(RedisBroker(url=_url) if _url.startswith("redis") else RabbitmqBroker(url=_url))
append = dramatiq.actor(work.append)
stamp = dramatiq.actor(work.stamp)


def set_up() -> None:
    """Nothing: queues are declared by whoever comes first."""


def enqueue(name: str, value: int) -> None:
    globals()[name].send(value)


def fill(name: str, count: int) -> None:
    for number in range(count):
        enqueue(name, number)
