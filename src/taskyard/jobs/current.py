"""The running job, as the task sees it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from taskyard.errors import NoCurrentJob

if TYPE_CHECKING:
    from taskyard.jobs.running import RunningJob

_current: ContextVar[RunningJob | None] = ContextVar("taskyard_current_job", default=None)


def current_job() -> RunningJob:
    """The job whose body is running here; raises :class:`~taskyard.errors.NoCurrentJob` outside of one."""
    job = _current.get()
    if job is None:
        raise NoCurrentJob
    return job


def find_current_job() -> RunningJob | None:
    """The running job, or None."""
    return _current.get()


@contextlib.contextmanager
def entered(job: RunningJob) -> Iterator[RunningJob]:
    """Make ``job`` the current one; restores exactly what was there."""
    token = _current.set(job)
    try:
        yield job
    finally:
        _current.reset(token)
