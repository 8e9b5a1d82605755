"""The tasks of the simulated project. Their bodies never run: a model worker plays what the plan says."""

from datetime import timedelta
from typing import Any

from taskyard import RetryPolicy, task

_ONCE = RetryPolicy(max_retries=1, backoff=timedelta(seconds=1))
_TWICE = RetryPolicy(max_retries=2, backoff=timedelta(seconds=1))


def _never(**_: Any) -> None:
    raise AssertionError("the simulation plays bodies, it does not run them")


@task(name="sim.plain", queue="high")
def plain(number: int) -> None:
    """No retry, no key."""
    _never()


@task(name="sim.stubborn", queue="low", retry=_TWICE)
def stubborn(number: int) -> None:
    """Tried three times."""
    _never()


@task(name="sim.single", queue="high", unique="key", retry=_ONCE)
def single(number: int, key: int) -> None:
    """One unfinished job per key."""
    _never()


@task(name="sim.brief", queue="low", unique="key", unique_until="start", retry=_ONCE)
def brief(number: int, key: int) -> None:
    """One job per key that has not started."""
    _never()


@task(name="sim.outside", queue="outside")
def outside(number: int) -> None:
    """For a program that is not ours (``HANDOVER``)."""
    _never()


ALL = {declared.name: declared for declared in (plain, stubborn, single, brief, outside)}
