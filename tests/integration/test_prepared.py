"""The hot path's prepared statements: used where they are safe, and nowhere else told apart from the ordinary way."""

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DataError, IntegrityError, OperationalError, connection, transaction

from taskyard.execution.claim import claim, new_token
from taskyard.jobs.models import Job
from taskyard.jobs.rows import prepared
from tests import servers
from tests.integration.shelf import put, statements

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="statements are prepared on PostgreSQL only"),
]

NOW = dt.datetime(2026, 5, 1, 12, 0, tzinfo=dt.UTC)
TOUCH = "UPDATE taskyard_job SET custom_state = %s WHERE id = %s RETURNING id"


def known_to_the_server() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements ORDER BY prepare_time")
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture(autouse=True)
def fresh_connection() -> Iterator[None]:
    connection.close()
    yield
    connection.close()


def test_a_claim_is_prepared_once_and_returns_what_the_ordinary_way_returns() -> None:
    first, second = put(NOW, state="queued", args=["ä", 1]), put(NOW, state="queued", args=["ä", 1])
    fast = claim(first.id, new_token(), uuid.uuid4(), NOW)
    assert len(known_to_the_server()) == 1
    with statements() as seen:  # somebody watches: the ordinary way
        slow = claim(second.id, new_token(), uuid.uuid4(), NOW)
    assert len(seen) == 1
    assert fast is not None and slow is not None
    same = (
        "task",
        "args",
        "kwargs",
        "message",
        "queue",
        "priority",
        "attempt",
        "max_attempts",
        "crashes",
        "expires_at",
    )
    assert [getattr(fast, name) for name in same] == [getattr(slow, name) for name in same]
    assert (fast.id, fast.root, fast.started_at) == (first.id, first.id, NOW)
    assert len(known_to_the_server()) == 1


def test_a_statement_belongs_to_the_transaction_it_is_run_in_even_as_its_first() -> None:
    job = put(NOW)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert prepared.run(connection, TOUCH, params=["mine", job.id]) == [(str(job.id),)]
        raise ZeroDivisionError
    assert Job.objects.get(id=job.id).custom_state == ""


def test_errors_are_djangos_and_spoil_only_their_own_transaction() -> None:
    job = put(NOW, unique_lock="taken")
    other = put(NOW)
    lock = "UPDATE taskyard_job SET unique_lock = %s WHERE id = %s RETURNING id"
    with pytest.raises(IntegrityError):
        prepared.run(connection, lock, params=["taken", other.id])
    with pytest.raises(DataError):
        prepared.run(connection, TOUCH, params=["x" * 51, job.id])
    assert prepared.run(connection, TOUCH, params=["fine", job.id])


def test_a_lost_connection_is_an_operational_error_and_the_next_statement_opens_another() -> None:
    job = put(NOW)
    assert prepared.run(connection, TOUCH, params=["before", job.id])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connection.copy("other")
    with contextlib.closing(other), other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with pytest.raises(OperationalError):
        prepared.run(connection, TOUCH, params=["after", job.id])
    connection.close()
    assert prepared.run(connection, TOUCH, params=["again", job.id])


@pytest.mark.parametrize("spoiler", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_statements_that_were_forgotten_go_the_ordinary_way_from_then_on(spoiler: str) -> None:
    job = put(NOW)
    assert prepared.run(connection, TOUCH, params=["x", job.id])
    with connection.cursor() as cursor:
        cursor.execute(spoiler)
    assert prepared.run(connection, TOUCH, params=["y", job.id]) is None
    assert prepared.run(connection, TOUCH, params=["z", job.id]) is None


def test_a_text_with_a_nul_is_left_to_the_driver_which_refuses_it() -> None:
    assert prepared.run(connection, TOUCH, params=["a\0b", put(NOW).id]) is None


def test_nothing_is_prepared_through_a_pooler_or_where_the_project_says_so(settings: object) -> None:
    settings.TASKYARD = {"PREPARED_STATEMENTS": False}  # type: ignore[attr-defined]
    assert prepared.run(connection, "SELECT %s::int", params=[1]) is None
    settings.TASKYARD = {}  # type: ignore[attr-defined]
    assert prepared.run(connection, "SELECT %s::int", params=[1]) == [(1,)]
    here = connection.settings_dict
    user = f"{here['USER']}:{here['PASSWORD']}" if here["PASSWORD"] else here["USER"]
    address = f"postgresql://{user}@{here['HOST']}:{here['PORT'] or 5432}/{here['NAME']}"
    with servers.pgbouncer(address) as server:
        pooled = connection.copy("pooled")
        pooled.settings_dict = {**here, "PORT": server.port}
        try:
            assert prepared.run(pooled, "SELECT %s::int", params=[1]) is None
        finally:
            pooled.close()


def test_in_an_event_loop_it_is_refused_as_every_statement_is() -> None:
    job = put(NOW, state="queued")

    async def view() -> None:
        claim(job.id, new_token(), uuid.uuid4(), NOW)

    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(view())
