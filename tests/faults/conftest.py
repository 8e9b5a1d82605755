"""What tests break: a server of their own."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from tests import servers
from tests.servers import postgres
from tests.workers import Project


@pytest.fixture
def own_server(request: pytest.FixtureRequest, project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A PostgreSQL to break, on which this test and its project have a database; the parameter is its disk's size."""
    made = servers.private_postgres()
    made.disk_bytes = getattr(request, "param", None)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(made)
        except servers.ServerMissing as missing:
            pytest.skip(str(missing))
        name = connection.settings_dict["NAME"]
        postgres.create_database(server.url, name)
        monkeypatch.setenv("TASKYARD_TEST_PG_URL", server.url)
        connection.close()
        with monkeypatch.context() as elsewhere:
            for key, value in {**servers.django_database(server.url), "NAME": name}.items():
                elsewhere.setitem(connection.settings_dict, key, value)
            call_command("migrate", verbosity=0, run_syncdb=True)
            yield server
            project.close()
            connection.close()
