"""Fixtures for pytest, loaded by pytest itself (``pytest11``).

Nothing of Django, Celery or the rest of Taskyard is imported until a test asks for one of them: pytest loads this
wherever the package is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from taskyard.testing import Clock, JobTools, Worker


@pytest.fixture
def taskyard_jobs(db: None) -> JobTools:
    """Assertions about the jobs of this test, and ``run_jobs()``: the functions of ``taskyard.testing`` as methods."""
    from taskyard.testing import JobTools

    return JobTools()


@pytest.fixture
def taskyard_eager(db: None) -> Iterator[None]:
    """Jobs run where they are enqueued, and their errors are raised there."""
    from taskyard.testing import eagerly

    with eagerly():
        yield


@pytest.fixture
def taskyard_clock(db: None) -> Iterator[Clock]:
    """Time stands still; ``travel()`` lets it pass and fires what becomes due."""
    from taskyard.testing import clock

    with clock() as started:
        yield started


@pytest.fixture
def taskyard_worker(transactional_db: None) -> Iterator[Worker]:
    """A real worker runs in threads beside the test, whose transactions are real."""
    from taskyard.testing import worker

    with worker() as started:
        yield started


@pytest.fixture
def taskyard_tenant(db: None) -> Iterator[Callable[[Any], None]]:
    """``taskyard_tenant("acme")`` makes the rest of the test run as that tenant."""
    from taskyard.testing import as_tenant

    with ExitStack() as entered:
        yield lambda tenant: entered.enter_context(as_tenant(tenant))
