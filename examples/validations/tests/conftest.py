"""The product as a test meets it: set up, its files in a folder of the test's own, jobs run where they are enqueued."""

import datetime as dt
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from validations import containers
from validations.models import Output, Run, RunState, Submission

from taskyard.models import Job
from taskyard.schedules import Schedule

#: By how much things are before now, in these tests.
LONG = dt.timedelta(days=40)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    if connection.vendor == "sqlite":
        # A file: a running job reports on a connection of its own.
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(autouse=True)
def product(tmp_path: Path, settings: Any, transactional_db: None) -> Iterator[None]:
    settings.DATA, settings.MEDIA_ROOT = tmp_path, tmp_path / "files"
    settings.CONTAINERS = tmp_path / "containers"
    settings.CELERY_TASK_ALWAYS_EAGER = True
    call_command("sync_schedules", "--backend=celery", stdout=StringIO())
    yield
    for run in containers.runs():
        containers.remove(run)


@pytest.fixture
def run() -> Callable[[str], Job]:
    """Run a schedule now, as ``taskyard schedules run NAME`` does; its job, which has ended."""

    def run_now(name: str) -> Job:
        occurrence = Schedule.objects.get(name=name).run_now(by="a test")
        assert occurrence.decision == "fired", occurrence.reason
        return Job.objects.get(id=occurrence.job)

    return run_now


class Makers:
    """Rows of the product with what belongs to them."""

    def submission(self, *, expired: bool = True, customer: str = "acme") -> Submission:
        made = Submission(customer=customer, expires_at=timezone.now() + (-LONG if expired else LONG))
        made.file.save("rules.xml", ContentFile(b"<rules/>"))
        return made

    def run(self, *, silent: dt.timedelta = dt.timedelta(0), state: RunState = RunState.RUNNING) -> Run:
        heard = timezone.now() - silent
        ended = None if state == RunState.RUNNING else heard
        return Run.objects.create(
            submission=self.submission(expired=False), state=state, heard_at=heard, ended_at=ended
        )

    def output(self, *, expired: bool = True) -> Output:
        made = Output(run=self.run(state=RunState.SUCCEEDED), expires_at=timezone.now() + (-LONG if expired else LONG))
        made.file.save("report.json", ContentFile(b"{}"))
        return made

    def stuck(self, kept: Submission | Output) -> Path:
        """Its file cannot be removed: what is in its place is a folder that is not empty. What is in the way of it."""
        place = Path(kept.file.path)
        place.unlink()
        place.mkdir()
        (place / "in the way").touch()
        return place / "in the way"


@pytest.fixture
def make() -> Makers:
    return Makers()
