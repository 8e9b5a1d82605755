"""What entering a tenant adds to a job: the same jobs through the real executor, with tenancy and without, in turns.

``python -m bench.tenants`` with ``TASKYARD_TEST_TENANCY`` (rows, schemas or databases), on the test project with
tenants. Two processes forked from one, with tenancy and without, run a few jobs each in turn, so that whatever else
the machine does falls on both. Prints microseconds: the median over turns of the difference of their medians, and in
brackets the lowest and highest of that median over the pairs of processes.
"""

import multiprocessing
import os
import secrets
import socket
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from multiprocessing.connection import Connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.tenancy.settings")

import django

PAIRS, TURNS, JOBS = 6, 100, 10
WARM_UP = 12
TENANTS = 50


@contextmanager
def database() -> Iterator[None]:
    from django.conf import settings
    from django.test.utils import setup_databases, teardown_databases

    from tests.tenancy import files, kinds

    made = setup_databases(0, interactive=False)
    template = files.template() if settings.KIND == "databases" else nullcontext()
    try:
        with template, kinds.made(*(f"tenant{number}" for number in range(TENANTS))):
            yield
    finally:
        teardown_databases(made, 0)


def queued(turn: int) -> list[uuid.UUID]:
    """Jobs of the next tenants in turn, as a worker finds them."""
    from taskyard.models import Job
    from tests.tenancy.shop import tasks

    names = [f"tenant{number % TENANTS}" for number in range(turn * JOBS, (turn + 1) * JOBS)]
    ids = [tasks.owned.using(tenant=name).enqueue().id for name in names]
    Job.objects.filter(id__in=ids).update(state="queued")
    return ids


def seconds_of_each(ids: list[uuid.UUID]) -> list[float]:
    from taskyard.celery import get_app
    from taskyard.celery.attempt.executor import Delivery, execute

    app, worker, took = get_app(), str(uuid.uuid4()), []
    for job_id in ids:
        delivery = Delivery(str(job_id), "shop.owned", secrets.randbits(63), worker, socket.gethostname(), {})
        began = time.perf_counter()
        execute(delivery, app)
        took.append(time.perf_counter() - began)
    return took


@contextmanager
def tenancy(*, is_on: bool, cache: timedelta) -> Iterator[None]:
    from django.conf import settings
    from django.test import override_settings

    kind = settings.KIND if is_on else ""
    with override_settings(TASKYARD={**settings.TASKYARD, "TENANCY": kind, "TENANT_CACHE": cache}):
        yield


def take_turns(pipe: Connection, is_on: bool, cache: timedelta) -> None:
    """In a process of its own: jobs for each turn on the pipe, answered with their median in microseconds."""
    with tenancy(is_on=is_on, cache=cache):
        while (turn := pipe.recv()) is not None:
            pipe.send(statistics.median(seconds_of_each(queued(turn))) * 1e6)


def differences(cache: timedelta) -> tuple[list[float], list[float]]:
    """For each turn of one pair of processes: what tenancy added, and what it was added to."""
    from django.db import connections

    connections.close_all()
    forking = multiprocessing.get_context("fork")
    ends: dict[bool, Connection] = {}
    for is_on in (False, True):
        ends[is_on], theirs = forking.Pipe()
        forking.Process(target=take_turns, args=(theirs, is_on, cache), daemon=True).start()
    added, base = [], []
    for turn in range(WARM_UP + TURNS):
        medians = {}
        for is_on in (False, True) if turn % 2 else (True, False):
            ends[is_on].send(turn)
            medians[is_on] = ends[is_on].recv()
        if turn >= WARM_UP:
            added.append(medians[True] - medians[False])
            base.append(medians[False])
    for end in ends.values():
        end.send(None)
    for child in forking.active_children():
        child.join()
    return added, base


def main() -> int:
    django.setup()
    from django.conf import settings

    with database():
        for name, cache in (("cache on", timedelta(hours=1)), ("cache off", timedelta(0))):
            pairs = [differences(cache) for _ in range(PAIRS)]
            each = [statistics.median(added) for added, _ in pairs]
            together = statistics.median(one for added, _ in pairs for one in added)
            base = statistics.median(one for _, bases in pairs for one in bases)
            print(
                f"{settings.KIND}, {name}: {together:.0f} µs a job ({min(each):.0f} to {max(each):.0f} over"
                f" {PAIRS} pairs), on top of {base:.0f} µs"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
