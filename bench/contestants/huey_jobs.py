"""Huey on Redis: as it comes; a job that was taken and not finished is lost with its worker."""

import os

from huey import RedisHuey

from bench import work

huey = RedisHuey("bench", url=os.environ["BENCH_BROKER_URL"])
append = huey.task(name="append")(work.append)
stamp = huey.task(name="stamp")(work.stamp)


def set_up() -> None:
    """Nothing: a list in Redis."""


def enqueue(name: str, value: int) -> None:
    globals()[name](value)


def fill(name: str, count: int) -> None:
    for number in range(count):
        enqueue(name, number)
