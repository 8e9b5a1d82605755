"""What entering a tenant adds to a job: the same jobs through the real executor, with tenancy and without, in turns.

``python -m bench.tenants`` with ``TASKYARD_TEST_TENANCY`` (rows, schemas or databases), on the test project with
tenants. Prints microseconds: medians over jobs, and over rounds of the difference of their medians.
"""

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

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.tenancy.settings")

import django

ROUNDS, JOBS = 9, 300
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


def queued() -> list[uuid.UUID]:
    """Jobs of all tenants in turn, as a worker finds them."""
    from taskyard.models import Job
    from tests.tenancy.shop import tasks

    ids = [tasks.owned.using(tenant=f"tenant{number % TENANTS}").enqueue().id for number in range(JOBS)]
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


def main() -> int:
    django.setup()
    from django.conf import settings

    with database():
        for name, cache in (("cache on", timedelta(hours=1)), ("cache off", timedelta(0))):
            added, base = [], []
            for number in range(ROUNDS + 1):
                medians = {}
                for is_on in (False, True) if number % 2 else (True, False):
                    with tenancy(is_on=is_on, cache=cache):
                        medians[is_on] = statistics.median(seconds_of_each(queued()))
                if number:  # the first round warms up
                    added.append((medians[True] - medians[False]) * 1e6)
                    base.append(medians[False] * 1e6)
            print(
                f"{settings.KIND}, {name}: {statistics.median(added):.0f} µs a job"
                f" ({min(added):.0f} to {max(added):.0f}), on top of {statistics.median(base):.0f} µs"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
