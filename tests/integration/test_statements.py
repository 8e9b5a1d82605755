"""The budget of the happy path (DESIGN §3.4), counted where statements are executed.

One INSERT per enqueue, one UPDATE per feeder batch, one to claim, one to settle; no connection. MariaDB and MySQL have
no UPDATE … RETURNING: there each of these takes a SELECT more, and an INSERT that may meet a unique key two.
"""

import datetime as dt
import secrets
import uuid
from collections.abc import Iterator

import pytest
from celery import group
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created

from taskyard import enqueue_many
from taskyard.celery.application import get_app
from taskyard.celery.attempt.executor import Delivery, execute
from taskyard.jobs.models import Job
from taskyard.outbox.feeder import Feeder
from tests.app import tasks
from tests.integration.shelf import Shelf, put, register, statements

pytestmark = pytest.mark.django_db(transaction=True)

#: What a statement with RETURNING is on this database.
CHANGE = ["UPDATE", "SELECT"] if connection.vendor == "mysql" else ["UPDATE"]
TAKE = ["SELECT", "UPDATE"] if connection.vendor == "mysql" else ["UPDATE"]
INSERT = ["SELECT", "INSERT", "SELECT"] if connection.vendor == "mysql" else ["INSERT"]


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Aliases of the connections opened during the test, in any thread."""
    connection.ensure_connection()
    aliases: list[str] = []

    def note(*, connection: object, **_: object) -> None:
        aliases.append(connection.alias)  # type: ignore[attr-defined]

    connection_created.connect(note)
    yield aliases
    connection_created.disconnect(note)


def verbs(seen: list[tuple[str, object]]) -> list[str]:
    """First words of the statements, without the notification after a commit: several enqueues share one."""
    return [sql.split()[0] for sql, _ in seen if "pg_notify(" not in sql]


def run(job_id: uuid.UUID, task: str) -> None:
    """One delivery, as a pool's process runs it."""
    delivery = Delivery(str(job_id), task, secrets.randbits(63), str(uuid.uuid4()), "host", {})
    failed, *_ = execute(delivery, get_app())
    assert not failed


def queued(*calls: object, task: str = "app.answer", **values: object) -> list[uuid.UUID]:
    now = dt.datetime.now(dt.UTC)
    return [put(now, task=task, state="queued", args=[call], **values).id for call in calls]


def test_an_enqueue_is_one_insert_in_the_callers_transaction(opened: list[str]) -> None:
    calls = {
        "enqueue": lambda: tasks.answer.enqueue(value=1),
        "with a unique key": lambda: tasks.once.enqueue(key="k"),
        "delay": lambda: tasks.add.delay(1, 2),
        "apply_async": lambda: tasks.add.apply_async((1, 2), countdown=60, link=tasks.total.s()),
        "a chain": lambda: (tasks.add.s(1, 2) | tasks.add.s(3)).delay(),
        "a group of ten": lambda: group(tasks.add.s(1, n) for n in range(10)).delay(),
        "enqueue_many": lambda: enqueue_many(tasks.answer, ({"value": n} for n in range(100))),
    }
    for name, call in calls.items():
        with transaction.atomic():
            with statements() as seen:
                call()
        inserts = [word for word in verbs(seen) if word not in ("SAVEPOINT", "RELEASE")]
        # COPY does not pass where statements are watched.
        is_copied = name == "enqueue_many" and connection.vendor == "postgresql"
        assert inserts == ([] if is_copied else INSERT), name
    assert Job.objects.count() == 4 + 1 + 10 + 100
    assert opened == []


def test_a_duplicate_enqueue_is_one_insert_and_one_look() -> None:
    tasks.once.enqueue(key="k")
    with statements() as seen:
        assert not tasks.once.enqueue(key="k").created
    assert verbs(seen) == [*INSERT, "SELECT"]


def test_a_batch_of_the_feeder_is_one_update_however_many_jobs_it_feeds() -> None:
    now = dt.datetime.now(dt.UTC)
    register(now, "celery", slots=200)
    shelf = Shelf()
    feeder = Feeder(uuid.uuid4(), shelf)
    put(now)
    feeder.run_once(now)
    counts = []
    for size, at in ((1, now + dt.timedelta(milliseconds=10)), (150, now + dt.timedelta(milliseconds=20))):
        Job.objects.all().delete()
        for _ in range(size):
            put(now)
        shelf.published.clear()
        with statements() as seen:
            assert feeder.run_once(at) == size
        assert len(shelf.published) == size
        feeding = [word for word in verbs(seen) if word == "UPDATE"]
        assert feeding == ["UPDATE"]
        counts.append(len(verbs(seen)))
    assert counts[0] == counts[1]


def test_a_successful_job_is_one_claim_and_one_settle(opened: list[str]) -> None:
    first, *jobs = queued(0, 1, 2, 3)
    # The first job of a process asks whether its connection, of unknown age, still lives.
    run(first, "app.answer")
    for job_id in jobs:
        with statements() as seen:
            run(job_id, "app.answer")
        assert verbs(seen) == [*CHANGE, *CHANGE]
        assert all("taskyard_job" in sql for sql, _ in seen)
    assert opened == []
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}


def test_a_shared_task_costs_no_more(opened: list[str]) -> None:
    tasks.add.delay(1, 2)
    tasks.add.delay(3, 4)
    Job.objects.update(state="queued")
    first, second = Job.objects.values_list("id", flat=True)
    run(first, tasks.add.name)
    with statements() as seen:
        run(second, tasks.add.name)
    assert verbs(seen) == [*CHANGE, *CHANGE]
    assert opened == []


def test_a_duplicate_message_costs_one_statement() -> None:
    first, second = queued(1, 2)
    run(first, "app.answer")
    run(second, "app.answer")
    with statements() as seen:
        delivery = Delivery(str(second), "app.answer", 1, str(uuid.uuid4()), "host", {})
        execute(delivery, get_app())
    assert verbs(seen) == ["UPDATE"]


def test_a_job_may_not_close_what_the_next_one_uses(opened: list[str]) -> None:
    first, second = queued(1, 2)
    run(first, "app.answer")
    before = connections["default"].connection
    run(second, "app.answer")
    assert connections["default"].connection is before
    assert opened == []
