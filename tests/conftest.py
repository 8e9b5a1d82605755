"""What every tier shares: where the servers are, and saying loudly which of them are missing."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests import browsers, servers, workers
from tests.ledger import Ledger


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty Redis database number of the test's own."""
    with servers.fresh_redis() as address:
        yield address


@pytest.fixture
def amqp_url() -> Iterator[str]:
    """A RabbitMQ virtual host of the test's own."""
    with servers.fresh_vhost() as address:
        yield address


BROKERS = {
    "database": lambda: nullcontext(""),
    "redis": servers.fresh_redis,
    "rabbitmq": servers.fresh_vhost,
}


@pytest.fixture(params=BROKERS)
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once per broker, each clean; an empty address is the database broker (nothing set)."""
    with BROKERS[request.param]() as address:
        yield address


@pytest.fixture
def project(tmp_path: Path, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[workers.Project]:
    """The test project on the database broker; its processes are gone after the test."""
    with workers.project(tmp_path) as made:
        monkeypatch.setenv("TASKYARD_TEST_HISTORY", str(made.history_file))
        yield made


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Where the steps of the tests' sagas write what they did."""
    path = tmp_path / "ledger"
    monkeypatch.setenv("TASKYARD_TEST_LEDGER", str(path))
    return Ledger(path)


@pytest.fixture
def project_on(broker_url: str, project: workers.Project) -> workers.Project:
    """The test project once on each broker."""
    project.broker_url = broker_url
    return project


def pytest_report_header() -> list[str]:
    from django.conf import settings

    return [f"database: {settings.DATABASES['default']['ENGINE'].rpartition('.')[2]}"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for kind, reason in {**servers.missing(), **browsers.missing()}.items():
        terminalreporter.write_line(f"SERVER MISSING: {kind}: {reason}", red=True, bold=True)
