"""Locks that somebody else holds: what a worker writes waits for them, and is written once."""

import datetime as dt
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from django.db import OperationalError, connection, transaction

from taskyard.celery.attempt.attempt import Attempt as Running
from taskyard.celery.attempt.executor import settle_surely
from taskyard.execution.claim import Claim, claim, new_token
from taskyard.execution.outcome import Succeeded
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.rows.sql import Sql
from taskyard.jobs.running import RunningJob
from tests.app import tasks
from tests.app.models import Note
from tests.integration.shelf import put
from tests.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.datetime(2026, 5, 1, 12, 0, tzinfo=dt.UTC)

#: Makes a statement of this connection give up soon.
IMPATIENT = {
    "postgresql": "SET lock_timeout = '100ms'",
    "sqlite": "PRAGMA busy_timeout = 100",
    "mysql": "SET innodb_lock_wait_timeout = 1",
}


@pytest.fixture
def impatient() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(IMPATIENT[connection.vendor])
    yield
    connection.close()


def running() -> Running:
    job = put(NOW, state="queued")
    owned = claim(job.id, new_token(), uuid.uuid4(), NOW)
    assert owned is not None
    return Running(owned, RunningJob(owned.id, owned.task, token=owned.token, attempt=1))


@contextmanager
def held(owned: Claim) -> Iterator[threading.Event]:
    """Another transaction has the job's row, or on SQLite the database, until the event is set."""
    is_held, may_go = threading.Event(), threading.Event()
    stored = Sql("default").uuid(owned.id)

    def hold() -> None:
        with closing(connection.copy("other")) as other, other.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE" if other.vendor == "sqlite" else "BEGIN")
            cursor.execute("UPDATE taskyard_job SET tags = NULL WHERE id = %s", [stored])
            is_held.set()
            may_go.wait(30)
            cursor.execute("COMMIT")

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert is_held.wait(30)
        yield may_go
    finally:
        may_go.set()
        thread.join(30)


@pytest.mark.parametrize("is_followed", [False, True])
def test_the_end_of_a_job_waits_for_a_lock_and_is_written_once(
    impatient: None, caplog: pytest.LogCaptureFixture, is_followed: bool
) -> None:
    attempt = running()
    if is_followed:
        attempt.steps.append(lambda alias, now: Note.objects.using(alias).create(text="followed") and None)
    with held(attempt.claim) as may_go:
        waiter = threading.Thread(target=_release_once_it_waits, args=(caplog, may_go))
        waiter.start()
        assert settle_surely(attempt, Succeeded('"done"'))
        waiter.join(30)

    job = Job.objects.get(id=attempt.claim.id)
    assert (job.state, job.result, job.attempt) == ("succeeded", "done", 1)
    assert Note.objects.count() == int(is_followed)
    assert not Attempt.objects.exists()


def _release_once_it_waits(caplog: pytest.LogCaptureFixture, may_go: threading.Event) -> None:
    try:
        wait_until(lambda: "waits for the database" in caplog.text, 20, "the end was refused once")
    finally:
        may_go.set()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one lock, and so no deadlocks")
def test_the_end_that_a_deadlock_undoes_is_written_again(caplog: pytest.LogCaptureFixture) -> None:
    note = Note.objects.create(text="contended")
    attempt = running()
    has_note, wants_job = threading.Event(), threading.Event()
    stored = Sql("default").uuid(attempt.claim.id)

    def opponent() -> None:
        with closing(connection.copy("other")) as other, other.cursor() as cursor:
            if other.vendor == "postgresql":
                # So that the other side notices first, and is the one that is undone.
                cursor.execute("SET deadlock_timeout = '20s'")
            cursor.execute("BEGIN")
            # Who has written more is not the one MariaDB undoes.
            for number in range(50 if other.vendor == "mysql" else 0):
                cursor.execute("INSERT INTO app_note (text) VALUES (%s)", [f"weight {number}"])
            cursor.execute("UPDATE app_note SET text = 'theirs' WHERE id = %s", [note.id])
            has_note.set()
            assert wants_job.wait(30)
            cursor.execute("UPDATE taskyard_job SET tags = '[]' WHERE id = %s", [stored])
            cursor.execute("COMMIT")

    thread = threading.Thread(target=opponent)
    thread.start()
    assert has_note.wait(30)

    def contend(alias: str, now: dt.datetime) -> None:
        wants_job.set()
        Note.objects.using(alias).filter(id=note.id).update(text="ours")

    attempt.steps.append(contend)
    try:
        assert settle_surely(attempt, Succeeded('"done"'))
    finally:
        wants_job.set()
        thread.join(60)

    assert "waits for the database" in caplog.text
    job = Job.objects.get(id=attempt.claim.id)
    assert (job.state, job.result, job.tags) == ("succeeded", "done", [])
    assert Note.objects.get(id=note.id).text == "ours"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="serializable transactions are tried on PostgreSQL")
def test_an_enqueue_in_a_serializable_transaction_is_the_callers_to_try_again() -> None:
    note = Note.objects.create(text="read")

    def with_conflict(*, is_disturbed: bool) -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            assert Note.objects.get(id=note.id).text
            tasks.nothing.enqueue(n=1)
            if is_disturbed:
                with closing(connection.copy("other")) as other, other.cursor() as cursor:
                    cursor.execute("UPDATE app_note SET text = 'changed' WHERE id = %s", [note.id])
            Note.objects.filter(id=note.id).update(text="mine")

    with pytest.raises(OperationalError):
        with_conflict(is_disturbed=True)
    assert not Job.objects.exists()
    with_conflict(is_disturbed=False)
    assert Job.objects.count() == 1
