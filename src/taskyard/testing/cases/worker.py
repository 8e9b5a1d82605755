"""A real worker in the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections

from taskyard.celery.worker.embedded import embedded_worker
from taskyard.errors import TaskyardError
from taskyard.jobs.models import Job
from taskyard.runtime.testcase import is_in_test_case
from taskyard.settings import get_settings
from taskyard.testing.cases.assertions import assert_state
from taskyard.testing.cases.calls import job_id

_LOOK_SECONDS = 0.02


class Worker:
    """What a test may ask of the worker that runs beside it."""

    def wait_for(self, job: Any, state: str | None = None, *, timeout_seconds: float = 10.0) -> Job:
        """Wait until the job has ended, whatever the end, or is in that state; the job. Then ``AssertionError``."""
        wanted = job_id(job)

        def is_there() -> bool:
            found = Job.objects.filter(id=wanted).first()
            return found is not None and (found.is_final if state is None else found.state == state)

        _wait(is_there, timeout_seconds)
        found: Job = Job.objects.get(id=wanted)
        if state is not None:
            return assert_state(found, state)
        if not found.is_final:
            raise AssertionError(f"{found} has not ended after {timeout_seconds} s, it is {found.state}.")
        return found

    def wait_until_idle(self, *, timeout_seconds: float = 10.0) -> None:
        """Wait until no job is unfinished, future ones among them; then ``AssertionError``."""
        if not _wait(lambda: not Job.objects.active().exists(), timeout_seconds):
            left = ", ".join(f"{job} is {job.state}" for job in Job.objects.active()[:5])
            raise AssertionError(f"After {timeout_seconds} s there are unfinished jobs: {left}.")


@contextmanager
def worker(queues: Sequence[str] = ()) -> Iterator[Worker]:
    """Within, a worker runs in threads of this process, with its feeder, scheduler and all, on the tests' database.

    It is Celery's worker with its solo pool: one job at a time, no time limits. It consumes ``queues``, or those a
    worker without ``-Q`` would. The broker is that of the settings; unset, the database. For ``TransactionTestCase``,
    ``LiveServerTestCase`` and pytest-django's ``transactional_db``: raises :class:`~taskyard.errors.TaskyardError` in a
    ``TestCase``, whose rows nobody else can see, and on SQLite in memory, which threads cannot share. At the end the
    job that runs is waited for.
    """
    _refuse_what_it_cannot_see(get_settings().database)
    with embedded_worker(queues):
        yield Worker()


def _refuse_what_it_cannot_see(alias: str) -> None:
    if is_in_test_case(alias):
        raise TaskyardError(
            "A worker cannot see what a TestCase writes, because that never commits: use TransactionTestCase, or "
            "pytest-django's transactional_db. run_jobs() runs jobs in a TestCase."
        )
    connection: Any = connections[alias]
    if connection.in_atomic_block:
        raise TaskyardError("A worker cannot see what atomic() has not committed: leave it before you start one.")
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        raise TaskyardError(
            "A worker needs a test database in a file: SQLite in memory cannot be shared between threads that write. "
            f'Set DATABASES["{alias}"]["TEST"] = {{"NAME": BASE_DIR / "test.sqlite3"}}.'
        )


def _wait(is_there: Any, seconds: float) -> bool:
    give_up, pause = time.monotonic() + seconds, threading.Event()
    while not is_there():
        if time.monotonic() > give_up:
            return False
        pause.wait(_LOOK_SECONDS)
    return True
