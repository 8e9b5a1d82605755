"""Beside an old snapshot dead rows stay in the index of what is out: reading there is slow, and is done otherwise."""

import datetime as dt
import re
import uuid
from typing import Any

import pytest
from django.db import connection

from taskyard.celery.broker import job_rows
from taskyard.celery.broker.job_rows import Floors, JobRows
from taskyard.execution.rescuer import Rescuer
from taskyard.jobs.models import Job
from taskyard.jobs.rows.sql import Sql
from taskyard.outbox import out
from taskyard.outbox.feeder import Feeder
from taskyard.outbox.out import Out
from tests.integration.shelf import Shelf, put, register, statements

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND, HOUR = dt.timedelta(seconds=1), dt.timedelta(hours=1)


class Clock:
    """Each look at it takes a while."""

    def __init__(self, seconds: float) -> None:
        self.at, self.seconds = 0.0, seconds

    def __call__(self) -> float:
        self.at += self.seconds
        return self.at


def exact() -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for queue, state in Job.objects.filter(lane=2).values_list("queue", "state"):
        counts = found.setdefault(queue, {"queued": 0, "running": 0})
        counts[state] += 1
    return found


def queued(published_at: dt.datetime, **values: Any) -> Job:
    return put(NOW, **{"state": "queued", "published_at": published_at, "publishes": 1, **values})


def asked(act: Any) -> list[str]:
    with statements() as seen:
        act()
    return [sql for sql, _ in seen if "lane = 2" in sql]


def test_while_counting_is_fast_everything_is_counted_each_time() -> None:
    counter, sql = Out(Clock(0.0001)), Sql("default")
    queued(NOW)
    for _ in range(3):
        assert len(asked(lambda: counter.count(sql, NOW, ["celery"]))) == 1
    assert counter.since("celery") is None


def test_once_it_is_slow_what_was_published_later_is_counted_and_the_rest_remembered() -> None:
    counter, sql = Out(Clock(0.1)), Sql("default")
    for age in (3, 2):
        queued(NOW - age * SECOND)
    for age in (5 * HOUR, SECOND):
        queued(NOW - age, state="running", worker=uuid.uuid4())
    counter.count(sql, NOW, [])
    assert counter.since("celery") == NOW - 4 * SECOND

    queued(NOW + SECOND)
    queued(NOW + SECOND, queue="other")
    Job.objects.filter(state="queued", published_at=NOW - 2 * SECOND).update(state="running")
    counts: dict[str, dict[str, int]] = {}
    later = asked(lambda: counts.update(counter.count(sql, NOW + SECOND, ["celery", "other"])))
    assert counts == exact() == {"celery": {"queued": 2, "running": 3}, "other": {"queued": 1, "running": 0}}
    assert all("published_at >= %s" in sql for sql in later)


def test_everything_is_counted_again_after_a_while_and_after_an_error() -> None:
    clock, sql = Clock(0.1), Sql("default")
    counter = Out(clock)
    counter.count(sql, NOW, [])
    # A twentieth of the time: two seconds for a tenth of one.
    clock.at += 2.0
    assert any("GROUP BY queue" in said for said in asked(lambda: counter.count(sql, NOW, [])))
    counter.forget()
    assert any("GROUP BY queue" in said for said in asked(lambda: counter.count(sql, NOW, [])))


def test_a_rescuer_to_whom_it_is_slow_asks_once_in_a_while_whose_jobs_are_out_and_finds_all_the_same() -> None:
    queued(NOW, state="running", worker=uuid.uuid4(), claim=7, attempt=1, started_at=NOW)
    clock = Clock(0.1)
    rescuer = Rescuer(clock)

    def turns(count: int) -> list[str]:
        said = []
        for _ in range(count):
            clock.at += 1.0
            said += [one for one in asked(lambda: rescuer.run_once(NOW)) if "DISTINCT worker" in one]
        return said

    assert len(turns(4)) == 1
    assert 2 <= len(turns(12)) <= 3
    turns(8)
    assert Job.objects.get().state == "retrying"
    clock.seconds = 0.0
    turns(5)
    assert len(turns(4)) == 4


def test_a_feeder_that_counts_like_this_feeds_and_sweeps_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "SLOW_SECONDS", -1.0)
    monkeypatch.setattr(out, "PART", 1_000_000)
    register(NOW, "celery", slots=4)
    shelf = Shelf()
    feeder = Feeder(uuid.uuid4(), shelf)
    for _ in range(6):
        put(NOW)
    feeder.run_once(NOW)
    lost = Job.objects.filter(state="queued").count()
    assert lost == 4
    assert feeder.run_once(NOW + SECOND) == 0
    feeder.run_once(NOW + 20 * SECOND)
    assert Job.objects.filter(state="queued", publishes=2).count() == lost
    Job.objects.filter(state="queued").update(state="succeeded", finished_at=NOW)
    assert feeder.run_once(NOW + 21 * SECOND) == 2


def test_jobs_are_taken_from_the_table_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_rows, "SLOW_SECONDS", -1.0)
    monkeypatch.setattr(job_rows, "PART", 1_000_000)
    floors: Floors = {}
    rows = JobRows("default", floors)
    first = queued(NOW)
    assert [job_id for job_id, _ in rows.take("celery", 1)] == [first.id]
    assert "celery" in floors
    second = queued(dt.datetime.now(dt.UTC) + SECOND)
    sql, params = rows.is_ready("celery")
    assert rows.sql.query(sql, params)
    taken: list[Any] = []
    [statement] = asked(lambda: taken.extend(rows.take("celery", 5)))
    assert ([job_id for job_id, _ in taken], "published_at >= %s" in statement) == ([second.id], True)
    # What was given back meanwhile is found when it is looked for from the beginning.
    rows.release([first.id])
    assert rows.take("celery", 5) == []
    floors["celery"] = (floors["celery"][0], 0.0)
    assert [job_id for job_id, _ in rows.take("celery", 5)] == [first.id]


@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="MariaDB has no index of what is out, SQLite no dead rows"
)
def test_what_was_published_since_is_found_through_the_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'taskyard_job_out'")
        assert re.search(r"\(queue, published_at\) WHERE \(lane = 2\)", cursor.fetchone()[0])
