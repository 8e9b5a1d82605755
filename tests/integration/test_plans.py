"""Statements of the hot path find their rows through the intended index, whatever the statistics say.

The plans are those of the statements that the agents really execute, captured while they act.
"""

import datetime as dt
import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from taskyard import Batch
from taskyard.batches import cancelling
from taskyard.batches.cancelling import is_unfinished
from taskyard.batches.queries import find_batch
from taskyard.celery.broker.job_rows import JobRows
from taskyard.enqueue import existing_job
from taskyard.execution.claim import find_claim
from taskyard.execution.outcome import Failed, Succeeded, Trouble
from taskyard.execution.pruner import Pruner
from taskyard.execution.rescuer import Rescuer
from taskyard.execution.settle import settle
from taskyard.failures.models import FailureGroup
from taskyard.jobs import queries
from taskyard.jobs.models import Job
from taskyard.jobs.queries import JobFilter
from taskyard.jobs.rows.newjob import NewJob
from taskyard.jobs.rows.sql import Sql
from taskyard.operations import Actor, tenants
from taskyard.operations.bulk.order import selected
from taskyard.operations.bulk.selection import Place
from taskyard.outbox.feeder import Feeder
from taskyard.outbox.share.tenants import Tenants
from taskyard.outbox.share.turns import Backlog
from taskyard.tasks.unique import unique_lock
from tests.app.models import Note
from tests.integration.shelf import Shelf, put, register, start, statements

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.any_django("which index a statement takes is the server's doing"),
]

ROWS = 50_000
NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
KEY = "PRIMARY" if connection.vendor == "mysql" else "taskyard_job_pkey"
#: MariaDB and MySQL have no partial index of what is out: there the lane leads two indexes, and one is as good.
LANE_FIRST = {"taskyard_job_feed", "taskyard_job_later"}
OUT = LANE_FIRST if connection.vendor == "mysql" else {"taskyard_job_out"}
#: MariaDB's statistics follow the data by themselves; on SQLite and PostgreSQL they are as old as the last ANALYZE.
STATISTICS = ["fresh"] if connection.vendor == "mysql" else ["fresh", "of an empty table"]


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE taskyard_job" if connection.vendor == "mysql" else "ANALYZE")


def load() -> None:
    """50,000 jobs: most of them ended, a backlog, some for later, a window, a few about a subject or holding a key."""
    jobs = [_row(number) for number in range(1000)]
    Job.objects.bulk_create(jobs, batch_size=200)
    names = [
        f.column for f in Job._meta.concrete_fields if not f.primary_key and f.column not in ("lane", "unique_lock")
    ]
    columns = ", ".join(names)
    fresh_id = {
        "postgresql": "gen_random_uuid()", "sqlite": "lower(hex(randomblob(16)))", "mysql": "uuid()",
    }[connection.vendor]  # fmt: skip
    if connection.vendor == "mysql" and not connection.features.has_native_uuid_field:
        fresh_id = "replace(uuid(), '-', '')"
    copies = ROWS // 1000 - 1
    numbers = f"WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {copies})"
    select = f"SELECT {fresh_id}, {columns} FROM taskyard_job, n"
    insert = f"INSERT INTO taskyard_job (id, {columns})"
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute(f"{insert} {numbers} {select}")
        else:
            cursor.execute(f"{numbers} {insert} {select}")


def _row(number: int) -> Job:
    at = NOW - dt.timedelta(minutes=number)
    job = Job(
        id=uuid.uuid4(), task="app.nothing", queue=("celery", "low", "high")[number % 3], priority=number % 5,
        created_at=at, available_at=at,
    )  # fmt: skip
    if number < 200:
        return job
    if number < 300:
        job.due, job.available_at = False, NOW + dt.timedelta(hours=number)
    elif number < 304:
        job.state, job.published_at, job.publishes = "queued", at, 1
    elif number < 306:
        job.state, job.worker, job.claim, job.started_at = "running", uuid.UUID(int=number), number, at
    else:
        job.state = "failed" if number < 320 else "cancelled" if number < 340 else "succeeded"
        job.finished_at = at - dt.timedelta(days=100 if number > 900 else 1)
    if number % 100 == 0:
        job.subject_type, job.subject_id, job.root = "app.note", str(number), uuid.UUID(int=number)
    return job


@pytest.fixture(params=STATISTICS)
def filled(request: pytest.FixtureRequest) -> Iterator[str]:
    """The table with statistics taken before or after it was filled; nobody takes new ones meanwhile."""
    is_postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        if is_postgres:
            cursor.execute("ALTER TABLE taskyard_job SET (autovacuum_enabled = off)")
            cursor.execute("TRUNCATE taskyard_job CASCADE")
        analyze()
        load()
        if request.param == "fresh":
            analyze()
        yield request.param
        if is_postgres:
            cursor.execute("ALTER TABLE taskyard_job RESET (autovacuum_enabled)")


def indexes_of(sql: str, params: Any) -> set[str]:
    """The indexes through which a statement reads the job table; ``(whole table)`` where it reads all of it."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
            found = [cursor.fetchone()[0]]
            # Django's own statements are never prepared.
            found += [_prepared(cursor, sql, params)] if '"taskyard_job"' not in sql else []
            plans = [(json.loads(one) if isinstance(one, str) else one)[0]["Plan"] for one in found]
            return {index for plan in plans for index in _scans(plan)}
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            return {index for row in cursor.fetchall() for index in _sqlite_index(row[3])}
        cursor.execute(f"EXPLAIN {sql}", params)
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        used = [row["key"] or "(whole table)" for row in rows if row["table"] == "taskyard_job"]
        return {name for names in used for name in names.split(",")}


def _prepared(cursor: Any, sql: str, params: Any) -> Any:
    """The plan for any values at all, which a connection keeps of a statement that it sends often."""
    from psycopg import ClientCursor

    texts = sql.split("%s")
    numbered = "".join(f"{text}${number}" for number, text in enumerate(texts[:-1], 1)) + texts[-1]
    given = f"({', '.join(['%s'] * (len(texts) - 1))})" if len(texts) > 1 else ""
    cursor.execute("SET plan_cache_mode = force_generic_plan")
    cursor.execute(f"PREPARE asked AS {numbered}")
    try:
        explained = ClientCursor(cursor.connection).execute(f"EXPLAIN (FORMAT JSON) EXECUTE asked{given}", params)
        return explained.fetchone()[0]
    finally:
        cursor.execute("DEALLOCATE asked")
        cursor.execute("RESET plan_cache_mode")


def _scans(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"] == "Seq Scan" and plan["Relation Name"] == "taskyard_job":
        yield "(whole table)"
    if plan.get("Relation Name", "taskyard_job") == "taskyard_job" and "Index Name" in plan:
        yield plan["Index Name"]
    for part in plan.get("Plans", []):
        yield from _scans(part)


def _sqlite_index(detail: str) -> Iterator[str]:
    words = re.match(r"(SCAN|SEARCH) taskyard_job\b(?: USING (?:COVERING )?INDEX (\S+))?", detail)
    if words is not None:
        # The primary key's automatic index.
        yield (words[2] or "(whole table)").replace("sqlite_autoindex_taskyard_job_1", KEY)


def read_through(act: Callable[[], object]) -> dict[str, set[str]]:
    """What an act executes on the job table, and through which indexes each statement reads it."""
    with statements() as seen:
        act()
    return {
        sql: indexes_of(sql, params)
        for sql, params in seen
        if "taskyard_job" in sql and not sql.startswith(("INSERT", "SAVEPOINT", "RELEASE"))
    }


def _feeding() -> Callable[[], object]:
    register(NOW, "celery", "low", "high", slots=4)
    feeder = Feeder(uuid.uuid4(), Shelf())
    feeder.run_once(NOW)
    # The second turn sweeps what is overdue by then, and promotes what was put for later.
    return lambda: feeder.run_once(NOW + dt.timedelta(hours=301))


def _taking_queued_rows() -> Callable[[], object]:
    rows = JobRows("default")

    def act() -> None:
        sql, params = rows.is_ready("celery")
        rows.sql.query(sql, params)
        rows.release([job_id for job_id, _ in rows.take("celery", 10)])
        rows.size("celery")
        rows.release_others([])

    return act


def _claiming() -> Callable[[], object]:
    job = put(NOW, state="queued")

    def act() -> None:
        owned = start(job, NOW)
        found = find_claim(job.id, owned.token)
        assert found is not None
        assert settle(found, Succeeded("1"), NOW)

    return act


def _failing() -> Callable[[], object]:
    owned = start(put(NOW, state="queued"), NOW)
    return lambda: settle(owned, Failed(Trouble("E")), NOW)


def _rescuing() -> Callable[[], object]:
    # A second later in each turn, and no time passes within one: nothing is slow.
    clock = iter([0, *(second for second in range(50) for _ in range(2))])
    rescuer = Rescuer(lambda: float(next(clock)))
    for _ in range(20):
        rescuer.run_once(NOW)
    return lambda: rescuer.run_once(NOW)


def _meeting_a_unique_holder() -> Callable[[], object]:
    lock = unique_lock("app.once", "", "k")
    put(NOW, unique_key="k", unique_lock=lock)
    rival = NewJob(
        id=uuid.uuid4(),
        task="app.once",
        queue="celery",
        created_at=NOW,
        available_at=NOW,
        unique_key="k",
        unique_lock=lock,
    )
    return lambda: existing_job(rival, "default")


def _asking_for_a_subject() -> Callable[[], object]:
    note = Note(pk=500)
    return lambda: Job.objects.for_subject(note).active().exists()


def _pruning() -> Callable[[], object]:
    return lambda: Pruner().run_once(NOW)


def _looking_at_queues() -> Callable[[], object]:
    return lambda: queries.queue_overview(NOW)


def _looking_at_tenants() -> Callable[[], object]:
    return lambda: tenants.list_(Actor.system("root"))


def _listing_the_failed() -> Callable[[], object]:
    return lambda: (
        queries.list_jobs(JobFilter(states=("failed",)), limit=20),
        Job.objects.failed().order_by("-finished_at")[:20][0],
    )


def _listing_what_is_out() -> Callable[[], object]:
    return lambda: (
        queries.list_jobs(JobFilter(states=("queued", "running")), limit=20),
        queries.running_jobs(limit=20),
        Job.objects.get_queryset().canvas(uuid.UUID(int=500)).exists(),
    )


def _members() -> Batch:
    """All jobs of a queue, a third of the table."""
    with Batch.open("a third") as batch:
        pass
    Job.objects.filter(queue="low").update(batch=batch.id)
    Job.objects.filter(batch=batch.id, state="failed").update(error={"type": "E"})
    Batch.objects.filter(id=batch.id).update(state="running", failed=100, cancel_requested_at=NOW)
    batch.refresh_from_db()
    return batch


def _ending_a_member() -> Callable[[], object]:
    owned = start(put(NOW, state="queued", batch=_members().id), NOW)
    return lambda: settle(owned, Succeeded("1"), NOW)


def _following_a_batch() -> Callable[[], object]:
    batch = _members()

    def act() -> None:
        assert find_batch(batch.id, NOW + dt.timedelta(days=999)) is not None
        assert is_unfinished(batch)

    return act


def _cancelling_a_batch() -> Callable[[], object]:
    batch = _members()
    return lambda: cancelling.cancel([batch.id], NOW)


Act = tuple[Callable[[], Callable[[], object]], set[str]]
#: What agents do for each job or all the time: the act, and the indexes through which it reads the table.
HOT: dict[str, Act] = {
    "feeding": (_feeding, {"taskyard_job_feed", "taskyard_job_later", *OUT, KEY}),
    "taking queued rows": (_taking_queued_rows, {*OUT, KEY}),
    "claiming and settling": (_claiming, {KEY}),
    "failing": (_failing, {KEY}),
    "rescuing": (_rescuing, {*OUT, KEY}),
    "meeting a unique holder": (_meeting_a_unique_holder, {"taskyard_job_lock", KEY}),
    "asking for a subject": (_asking_for_a_subject, {"taskyard_job_subject"}),
    "pruning": (_pruning, {"taskyard_job_finished", KEY}),
    "ending a member": (_ending_a_member, {KEY}),
    "following a batch": (_following_a_batch, {"taskyard_job_batch", "taskyard_job_batch_bad", KEY}),
}
#: What people do: with the statistics of an empty table PostgreSQL takes sorting the whole of it for cheap.
LISTING: dict[str, Act] = {
    "looking at queues": (_looking_at_queues, {*LANE_FIRST, *OUT, "taskyard_job_finished"}),
    "looking at tenants": (_looking_at_tenants, {"taskyard_job_feed", *OUT}),
    "listing the failed": (_listing_the_failed, {"taskyard_job_finished"}),
    "listing what is out": (_listing_what_is_out, {*OUT, "taskyard_job_root", KEY}),
    "cancelling a batch": (_cancelling_a_batch, {"taskyard_job_batch", KEY}),
}


#: Indexes that serve as well: what is out is a bounded few, whether asked for by batch or all at once.
AS_GOOD = {"following a batch": OUT}


def test_every_statement_reads_the_job_table_through_its_index(filled: str) -> None:
    wrong = {}
    for name, (prepare, wanted) in (HOT | (LISTING if filled == "fresh" else {})).items():
        read = read_through(prepare())
        strays = {sql[:300]: indexes for sql, indexes in read.items() if indexes - wanted - AS_GOOD.get(name, set())}
        unused = wanted - set().union(*read.values()) - (LANE_FIRST if LANE_FIRST >= OUT else set()) - {KEY}
        if strays or unused or not read:
            wrong[name] = (strays, unused)
    assert not wrong, f"with statistics {filled}: {json.dumps(wrong, indent=1, default=list)}"


def test_a_batch_that_is_most_of_the_table_is_followed_through_its_index(filled: str) -> None:
    with Batch.open("all of it") as batch:
        pass
    Job.objects.update(batch=batch.id, state="pending", due=True, finished_at=None)
    Batch.objects.filter(id=batch.id).update(state="running", total=ROWS)
    if filled == "fresh":
        analyze()
    read = read_through(lambda: find_batch(batch.id, NOW))
    assert list(read.values()) == [{"taskyard_job_batch"}], read


def test_beside_a_flood_others_are_looked_for_through_the_index() -> None:
    at = {"task": "app.nothing", "created_at": NOW, "available_at": NOW, "tenant": "acme"}
    flood = [Job(id=uuid.uuid4(), queue=("alone", "shared")[number % 2], **at) for number in range(4000)]
    Job.objects.bulk_create(flood, batch_size=200)
    analyze()
    put(NOW, queue="shared", tenant="globex")

    def take() -> None:
        for queue in ("alone", "shared"):
            backlog = Backlog(queue)
            for turn in range(3):
                backlog.take(Sql("default"), NOW + dt.timedelta(seconds=turn), room=10, terms=Tenants())

    read = read_through(take)
    assert any("tenant > %s" in sql for sql in read)
    # MariaDB plans with the values at hand: where nothing is behind this time, the index of times is as short a way.
    allowed = {"taskyard_job_feed", KEY} | ({"taskyard_job_later"} if connection.vendor == "mysql" else set())
    assert {sql: indexes for sql, indexes in read.items() if indexes - allowed} == {}


@pytest.mark.skipif(connection.vendor == "mysql", reason="sorts what is left of a group, of its index alone")
@pytest.mark.parametrize("tenant", [None, "acme"])
def test_the_next_ones_of_a_large_group_of_failures_are_read_without_sorting_it(tenant: str | None) -> None:
    load()
    Job.objects.filter(queue="low").update(state="failed", finished_at=NOW, tenant="acme")
    FailureGroup.objects.create(fingerprint="g", task="app.nothing", error_type="E", first_seen_at=NOW, seen_at=NOW)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO taskyard_failure (job_id, group_id, tenant, failed_at)"
            " SELECT id, 'g', tenant, available_at FROM taskyard_job WHERE queue = 'low'"
        )
    analyze()
    wanted = selected(JobFilter(group="g", tenant=tenant), ("failed",))
    place = Place(NOW - dt.timedelta(hours=9), uuid.UUID(int=2**127))
    for after in (None, place):
        with statements() as seen:
            assert len(wanted.batch(after, 40)) == 40
        [(sql, params)] = seen
        with connection.cursor() as cursor:
            explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{explain} {sql}", params)
            plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
        assert "taskyard_failure_tenant" in plan or "taskyard_failure_group" in plan, plan
        # What ended at one instant is sorted, and nothing more.
        assert not re.search(r"(?m)(?:^|->\s+)Sort\b|FOR ORDER BY|Seq Scan|SCAN ", plan), plan


def test_no_index_mentions_what_a_claim_or_a_report_changes() -> None:
    changed = {
        "state", "attempt", "claim", "worker", "started_at", "progress_current", "progress_total", "progress_message",
        "progress_at", "counts", "checkpoint", "cancel_requested_at", "custom_state",
    }  # fmt: skip
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SHOW INDEX FROM taskyard_job")
            words = {row[4] for row in cursor.fetchall()}
    else:
        table = {"postgresql": "SELECT indexdef FROM pg_indexes WHERE tablename = %s",
                 "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s"}  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(table[connection.vendor], ["taskyard_job"])
            words = set(re.findall(r"\w+", " ".join(row[0] or "" for row in cursor.fetchall())))
    assert "lane" in words
    assert not words & changed


@pytest.mark.skipif(connection.vendor != "postgresql", reason="heap-only updates are PostgreSQL's")
def test_a_claim_touches_no_index() -> None:
    now = dt.datetime.now(dt.UTC)
    jobs = [put(now) for _ in range(200)]
    register(now, "celery", slots=200)
    assert Feeder(uuid.uuid4(), Shelf()).run_once(now) == 200
    updates, hot = _updates()

    for job in jobs:
        start(job, now)

    after = _updates()
    assert after[0] - updates == 200
    # All of them where the server prunes pages at once, a page's reserve where some old snapshot (another database's,
    # too) keeps it from that; with ``state`` in an index it would be none.
    assert after[1] - hot >= 10
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = 'taskyard_job'")
        assert "fillfactor=85" in cursor.fetchone()[0]


def _updates() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'taskyard_job'")
        row: tuple[int, int] = cursor.fetchone()
        return row


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only its plans say how many rows were looked at")
def test_cancelling_a_batch_looks_at_no_member_that_ended(filled: str) -> None:
    batch = _members()
    with statements() as seen:
        cancelling.cancel([batch.id], NOW)
    asked = [each for each in seen if '"lane" <=' in each[0]]
    assert asked
    for sql, params in asked:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            found = json.dumps(cursor.fetchone()[0])
        # All of those that it asks about are cancelled by now, so that whatever it looks at is in vain.
        assert sum(map(int, re.findall(r'"Rows Removed by Filter": (\d+)', found))) < 100, found
