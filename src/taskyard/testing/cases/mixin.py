"""All of it as methods: of a test case, and of what pytest's fixture gives."""

from __future__ import annotations

import datetime as dt
import unittest
from collections.abc import Sequence
from typing import Any

from taskyard.testing.cases import assertions, clock, idempotence, running, tenant, worker


class JobTools:
    """The functions of :mod:`taskyard.testing` about jobs, as methods."""

    commit = staticmethod(running.commit)
    run_attempt = staticmethod(running.run_attempt)
    run_jobs = staticmethod(running.run_jobs)
    fire_due = staticmethod(clock.fire_due)
    enqueued = staticmethod(assertions.enqueued)
    assert_enqueued = staticmethod(assertions.assert_enqueued)
    assert_not_enqueued = staticmethod(assertions.assert_not_enqueued)
    assert_duplicate = staticmethod(assertions.assert_duplicate)
    assert_state = staticmethod(assertions.assert_state)
    assert_idempotent = staticmethod(idempotence.assert_idempotent)


class TaskyardTestMixin(JobTools, unittest.TestCase):
    """For test cases of Django: ``class OrderTests(TaskyardTestMixin, TestCase)``.

    What is started or entered here ends with the test.
    """

    def run_eagerly(self, *, propagate: bool = True) -> None:
        """From here on, jobs run where they are enqueued; see :func:`taskyard.testing.eagerly`."""
        self.enterContext(running.eagerly(propagate=propagate))

    def start_clock(self, at: dt.datetime | None = None) -> clock.Clock:
        """From here on, time stands still; see :class:`taskyard.testing.Clock`."""
        return self.enterContext(clock.clock(at))

    def start_worker(self, queues: Sequence[str] = ()) -> worker.Worker:
        """From here on, a worker runs beside the test; see :func:`taskyard.testing.worker`."""
        return self.enterContext(worker.worker(queues))

    def become_tenant(self, name: Any) -> None:
        """From here on, the test is this tenant; see :func:`taskyard.testing.as_tenant`."""
        self.enterContext(tenant.as_tenant(name))
