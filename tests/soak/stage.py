"""The servers of one run, private to it, and the project as its processes see it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskyard.testing.proxy import Proxy
from tests import servers
from tests.servers import mysql, postgres
from tests.soak import release
from tests.soak.plan import Options
from tests.workers import Project

_START = {"redis": servers.private_redis, "rabbitmq": servers.private_rabbitmq}


@dataclass
class SoakProject(Project):
    """The project of the soak, in the release that is current."""

    release: str = release.OLD

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "DJANGO_SETTINGS_MODULE": "tests.soak.settings",
            "SOAK_HISTORY": str(self.history_file),
            "SOAK_RELEASE": self.release,
        }


@dataclass
class Stage:
    options: Options
    folder: Path
    project: SoakProject
    #: The broker's server and the proxy before it; None on the database broker.
    broker: Any = None
    network: Proxy | None = None
    #: The database's server; None on SQLite.
    database: Any = None
    database_name: str = field(default_factory=servers.fresh_name)

    @property
    def sqlite_file(self) -> Path:
        return Path(tempfile.gettempdir()) / f"{self.database_name}.sqlite3"

    def manage(self, *words: str) -> None:
        """A management command in a process of its own."""
        self.project.run_python(f"from django.core.management import call_command; call_command(*{words!r})")


@contextmanager
def stage(options: Options, folder: Path) -> Iterator[Stage]:
    """Everything is started and migrated; everything is gone afterwards."""
    project = SoakProject(folder, taskyard=dict(options.taskyard))
    made = Stage(options, folder, project)
    with ExitStack() as stack:
        _start_database(made, stack)
        if options.broker in _START:
            made.broker = stack.enter_context(_START[options.broker]())
            made.network = stack.enter_context(Proxy(made.broker.url))
            project.broker_url = made.network.url
        _set_up_django(made)
        stack.callback(project.close)
        made.manage("migrate", "--verbosity", "0")
        made.manage("migrate", "soak", "0001", "--verbosity", "0")
        yield made


def _start_database(made: Stage, stack: ExitStack) -> None:
    kind = made.options.database
    os.environ.update(TASKYARD_TEST_DB=kind, TASKYARD_TEST_RUN=made.database_name)
    if kind == "sqlite":
        stack.callback(_remove, made.sqlite_file)
        return
    made.database = stack.enter_context({"postgres": servers.private_postgres, "mysql": servers.private_mysql}[kind]())
    os.environ[servers.KINDS[kind].variable] = made.database.url
    {"postgres": postgres, "mysql": mysql}[kind].create_database(made.database.url, made.database_name)


def _set_up_django(made: Stage) -> None:
    import django

    os.environ.update(made.project.environment())
    django.setup()


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="taskyard-soak-"))


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


PYTHON = sys.executable
