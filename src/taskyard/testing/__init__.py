"""The test kit: for your tests, and for breaking things on purpose to see whether what was promised holds.

For the tests of a project: assertions about jobs (:func:`assert_enqueued` and others), jobs that run in the test
(:func:`run_jobs`, :func:`eagerly`), a :class:`Clock`, a :func:`worker` in threads, :func:`as_tenant` and
:func:`tenants_allowed`. :class:`TaskyardTestMixin` has them as methods, and pytest as fixtures (``plugin``).

``faults`` names the places where a process may be made to die, ``processes`` kills and stops, ``proxy`` stands between
a client and its server, ``history`` writes down outside of the database what really ran, ``checker`` compares that with
the table. Nothing here is used in production, and nothing of it costs anything there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.testing.cases.assertions import (
        assert_duplicate,
        assert_enqueued,
        assert_not_enqueued,
        assert_state,
        enqueued,
    )
    from taskyard.testing.cases.clock import Clock, clock, fire_due
    from taskyard.testing.cases.idempotence import assert_idempotent
    from taskyard.testing.cases.mixin import JobTools, TaskyardTestMixin
    from taskyard.testing.cases.running import commit, eagerly, run_attempt, run_jobs
    from taskyard.testing.cases.tenant import as_tenant
    from taskyard.testing.cases.worker import Worker, worker
    from taskyard.testing.tenants import tenants_allowed

_HOMES = {
    "Clock": "taskyard.testing.cases.clock",
    "JobTools": "taskyard.testing.cases.mixin",
    "TaskyardTestMixin": "taskyard.testing.cases.mixin",
    "Worker": "taskyard.testing.cases.worker",
    "as_tenant": "taskyard.testing.cases.tenant",
    "assert_duplicate": "taskyard.testing.cases.assertions",
    "assert_enqueued": "taskyard.testing.cases.assertions",
    "assert_idempotent": "taskyard.testing.cases.idempotence",
    "assert_not_enqueued": "taskyard.testing.cases.assertions",
    "assert_state": "taskyard.testing.cases.assertions",
    "clock": "taskyard.testing.cases.clock",
    "commit": "taskyard.testing.cases.running",
    "eagerly": "taskyard.testing.cases.running",
    "enqueued": "taskyard.testing.cases.assertions",
    "fire_due": "taskyard.testing.cases.clock",
    "run_attempt": "taskyard.testing.cases.running",
    "run_jobs": "taskyard.testing.cases.running",
    "tenants_allowed": "taskyard.testing.tenants",
    "worker": "taskyard.testing.cases.worker",
}

__all__ = [
    "Clock",
    "JobTools",
    "TaskyardTestMixin",
    "Worker",
    "as_tenant",
    "assert_duplicate",
    "assert_enqueued",
    "assert_idempotent",
    "assert_not_enqueued",
    "assert_state",
    "clock",
    "commit",
    "eagerly",
    "enqueued",
    "fire_due",
    "run_attempt",
    "run_jobs",
    "tenants_allowed",
    "worker",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: pytest imports this package in projects that have nothing to do with it.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'taskyard.testing' has no attribute {name!r}")
