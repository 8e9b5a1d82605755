"""Measure layouts of the job table over its happy path (see docs/decisions/0002-one-row.md).

    python bench/layout.py [--dsn ...] [--rounds 3] [--jobs 20000] [--full-indexes 0] [--argument-bytes 200]

Creates a database with a random name and drops it. WAL and statistics counters are those of the whole
server, so nothing else should run on it. Every statement is prepared; clients are single-threaded.
"""

import argparse
import contextlib
import itertools
import json
import re
import secrets
import statistics
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg.conninfo import make_conninfo

BATCH = 100
QUEUE = "medium"
WORKER = uuid.UUID(int=secrets.randbits(128))
RESULT = json.dumps({"pages": 12, "tokens": 48213, "status": "embedded"})

#: Columns nobody changes after the INSERT come first, so that an update's delta in the WAL stays short.
FIXED = """
    id uuid PRIMARY KEY, task varchar(200) NOT NULL, args text NOT NULL, kwargs text NOT NULL,
    headers text NOT NULL DEFAULT '{}', tenant varchar(63) NOT NULL, max_attempts smallint NOT NULL DEFAULT 4,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz, routing_key varchar(200) NOT NULL DEFAULT 'medium', soft_limit integer DEFAULT 1800,
    hard_limit integer DEFAULT 2100, unique_key varchar(200) NOT NULL DEFAULT '', subject_type integer,
    subject_id varchar(64), created_by varchar(64) NOT NULL DEFAULT 'user:17', parent_id uuid,
    root_id uuid, occurrence_id uuid, message text,
    trace varchar(64) NOT NULL DEFAULT '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    tags text NOT NULL DEFAULT '[]', database varchar(64) NOT NULL DEFAULT 'default'"""
HOT = """
    queue varchar(100) NOT NULL, priority smallint NOT NULL DEFAULT 0, available_at timestamptz NOT NULL,
    due boolean NOT NULL DEFAULT true, state varchar(12) NOT NULL DEFAULT 'pending',
    attempt smallint NOT NULL DEFAULT 0, publishes smallint NOT NULL DEFAULT 0, published_at timestamptz,
    started_at timestamptz, worker uuid, claim uuid, cancel_requested_at timestamptz"""
END = """
    progress_current integer NOT NULL DEFAULT 0, progress_total integer,
    progress_message varchar(200) NOT NULL DEFAULT '', checkpoint text,
    finished_at timestamptz, result text, error text"""
LOCK = "unique_lock char(64)"
CASE = """CASE WHEN state IN ('pending', 'retrying') THEN (CASE WHEN due THEN 1 ELSE 0 END)
    WHEN state IN ('queued', 'running') THEN 2 END"""
GENERATED = f"lane smallint GENERATED ALWAYS AS ({CASE}) STORED"
LANE_INDEXES = (
    "CREATE INDEX feed ON {0} (queue, priority DESC, available_at, id) WHERE lane = 1",
    "CREATE INDEX later ON {0} (available_at) WHERE lane = 0",
    "CREATE INDEX out ON {0} (queue) WHERE lane = 2",
)
STATE_INDEXES = (
    "CREATE INDEX feed ON {0} (queue, priority DESC, available_at, id) WHERE state IN ('pending', 'retrying')",
    "CREATE INDEX out ON {0} (queue) WHERE state IN ('queued', 'running')",
    "CREATE INDEX finished ON job (finished_at) WHERE state IN ('succeeded', 'failed', 'cancelled')",
)
FINISHED = "CREATE INDEX finished ON job (finished_at) WHERE finished_at IS NOT NULL"
UNIQUE = "CREATE UNIQUE INDEX unique_lock ON {0} (unique_lock) WHERE unique_lock IS NOT NULL"
FULL_INDEXES = ("tenant, id", "root_id", "task, id", "created_at", "subject_type, subject_id", "occurrence_id")
RETURNED = "args, kwargs, headers, tenant, max_attempts, created_by, trace"
SCAN = re.compile(r"(Seq Scan on \w+)|(?:using|Bitmap Index Scan on) (\w+)")
WAITING = {"state": "state IN ('pending', 'retrying') AND available_at <= now()", "lane": "lane = 1"}
OUT = {"state": "true", "lane": "lane = 2"}


@dataclass(frozen=True)
class Layout:
    """One way to lay the record out; `live` is the table that carries the states."""

    name: str
    by: str = "lane"
    live: str = "job"
    lane: str = GENERATED
    fillfactor: int = 100

    @property
    def writes_lane(self):
        return self.lane == "lane smallint"

    def tables(self):
        return ("job",) if self.live == "job" else ("job", self.live)

    def schema(self, full_indexes):
        lane = f", {self.lane}" if self.by == "lane" else ""
        tail = f"WITH (fillfactor = {self.fillfactor}, autovacuum_enabled = false)"
        if self.live == "job":
            yield f"CREATE TABLE job ({FIXED}, {HOT}, {END}, {LOCK}{lane}) {tail}"
        else:
            yield f"CREATE TABLE job ({FIXED}, {HOT}, {END}) WITH (autovacuum_enabled = false)"
            yield f"CREATE TABLE live (id uuid PRIMARY KEY, task varchar(200) NOT NULL, {HOT}, {LOCK}{lane}) {tail}"
        yield from (text.format(self.live) for text in (LANE_INDEXES if self.by == "lane" else STATE_INDEXES))
        yield UNIQUE.format(self.live)
        if self.by == "lane":
            yield FINISHED
        yield from (
            f"CREATE INDEX full_{i} ON job ({columns})" for i, columns in enumerate(FULL_INDEXES[:full_indexes])
        )

    def insert(self):
        lane, value = (", lane", ", 1") if self.writes_lane else ("", "")
        wide = """INSERT INTO job (id, task, args, kwargs, tenant, queue, priority, available_at{0})
            VALUES ($1, $2, '[]', $3, $4, $5, $6, now(){1})"""
        if self.live == "job":
            return wide.format(f", unique_lock{lane}", f", $7{value}")
        return f"""WITH wide AS ({wide.format("", "")})
            INSERT INTO live (id, task, queue, priority, available_at, unique_lock)
            VALUES ($1, $2, $5, $6, now(), $7)"""

    def feed(self, extra="", form="array", size=BATCH):
        chosen = f"""SELECT id FROM {self.live} WHERE queue = $1 AND {WAITING[self.by]} {extra}
            ORDER BY priority DESC, available_at, id LIMIT {size} FOR UPDATE SKIP LOCKED"""
        lane = ", lane = 2" if self.writes_lane else ""
        update = f"""UPDATE {self.live} j
            SET state = 'queued', published_at = clock_timestamp(), publishes = publishes + 1{lane}"""
        where = f"WHERE j.id = ANY(ARRAY({chosen}))" if form == "array" else f"FROM ({chosen}) c WHERE j.id = c.id"
        return f"{update} {where} RETURNING j.id, j.task, j.queue, j.priority, j.attempt"

    def claim(self):
        lane = ", lane = 2" if self.writes_lane else ""
        update = f"""UPDATE {self.live} SET state = 'running', attempt = attempt + 1, started_at = clock_timestamp(),
            worker = $2, claim = $3{lane} WHERE id = $1 AND state = 'queued'"""
        if self.live == "job":
            return f"{update} RETURNING attempt, cancel_requested_at, {RETURNED}"
        return f"""WITH taken AS ({update} RETURNING id, attempt, cancel_requested_at)
            SELECT l.attempt, l.cancel_requested_at, {RETURNED}
            FROM job JOIN taken l USING (id)"""

    def settle(self):
        lane = ", lane = NULL" if self.writes_lane else ""
        if self.live == "job":
            return f"""UPDATE job
                SET state = 'succeeded', finished_at = clock_timestamp(), result = $3, unique_lock = NULL{lane}
                WHERE id = $1 AND claim = $2 AND state = 'running'"""
        return """WITH ended AS (
                DELETE FROM live WHERE id = $1 AND claim = $2 AND state = 'running' RETURNING *)
            UPDATE job SET state = 'succeeded', finished_at = clock_timestamp(), result = $3, attempt = e.attempt,
                publishes = e.publishes, published_at = e.published_at, started_at = e.started_at,
                worker = e.worker, claim = e.claim, priority = e.priority
            FROM ended e WHERE job.id = e.id"""

    def plans(self):
        """Name, statement, and the indexes its plan may use."""
        yield "feed", self.feed(), {"feed"}, (QUEUE,)
        yield "feed (join)", self.feed(form="join"), {"feed"}, (QUEUE,)
        yield "claim", self.claim(), {"pkey"}, (uuid.uuid4(), uuid.uuid4(), uuid.uuid4())
        yield "settle", self.settle(), {"pkey"}, (uuid.uuid4(), uuid.uuid4(), RESULT)
        out = f"SELECT id FROM {self.live} WHERE {OUT[self.by]} AND"
        overdue = f"{out} state = 'queued' AND published_at < now() - interval '30 s' LIMIT 100"
        yield "republish sweep", overdue, {"out"}, ()
        yield "rescue", f"{out} state = 'running' AND worker = $1", {"out"}, (WORKER,)
        final = "state IN ('succeeded', 'failed', 'cancelled') AND " if self.by == "state" else ""
        prune = f"""SELECT id FROM job WHERE {final}finished_at < now() - interval '30 days'
            ORDER BY finished_at LIMIT 1000"""
        yield "prune", prune, {"finished"}, ()
        failed = f"""SELECT id, task FROM job WHERE {final}finished_at IS NOT NULL AND state = 'failed'
            ORDER BY finished_at DESC LIMIT 50"""
        yield "list failed", failed, {"finished"}, ()
        if self.by == "lane":
            later = f"""SELECT id FROM {self.live} WHERE lane = 0 AND available_at <= now()
                ORDER BY available_at LIMIT 100"""
            yield "due sweep", later, {"later"}, ()


LAYOUTS = (
    Layout("a  state in index predicates", by="state"),
    Layout("b  generated lane, ff 100"),
    Layout("b  generated lane, ff 85", fillfactor=85),
    Layout("c  ordinary lane, ff 85", lane="lane smallint", fillfactor=85),
    Layout("d  wide row + live table", live="live", fillfactor=85),
)


class Bench:
    """One throw-away database and what is measured in it."""

    def __init__(self, dsn, full_indexes, argument_bytes):
        self.dsn, self.full_indexes = dsn, full_indexes
        self.arguments = json.dumps({"document_id": 4711, "note": secrets.token_hex(argument_bytes // 2 - 20)})
        self.admin = self.connect()
        self.ids = itertools.count(int(time.time() * 1000) << 80)  # time-ordered, as UUIDv7 is

    def connect(self, **settings):
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        connection = psycopg.connect(self.dsn, autocommit=True, options=options, cursor_factory=psycopg.RawCursor)
        connection.prepare_threshold = 0
        return connection

    def one(self, statement, *values):
        return self.admin.execute(statement, values).fetchone()[0]

    def create(self, layout):
        self.admin.execute("DROP TABLE IF EXISTS live, job")
        self.admin.prepare_threshold = None
        for statement in layout.schema(self.full_indexes):
            self.admin.execute(statement)
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            self.admin.execute("CHECKPOINT")

    def insert(self, client, layout, count):
        rows = []
        for number in range(count):
            key = uuid.UUID(int=next(self.ids))
            lock = secrets.token_hex(32) if number % 5 == 0 else None
            priority = 10 if number % 10 == 0 else 0
            rows.append(
                (key, "documents.embed_document", self.arguments, f"tenant-{number % 50}", QUEUE, priority, lock)
            )
        for start in range(0, count, BATCH):
            with client.transaction(), client.cursor() as cursor:
                cursor.executemany(layout.insert(), rows[start : start + BATCH])

    def work(self, client, layout, job_ids):
        claim, settle, started = layout.claim(), layout.settle(), time.perf_counter()
        for job_id in job_ids:
            token = uuid.uuid4()
            if client.execute(claim, (job_id, WORKER, token)).fetchone() is None:
                raise SystemExit(f"{layout.name}: claim refused")
            if client.execute(settle, (job_id, token, RESULT)).rowcount != 1:
                raise SystemExit(f"{layout.name}: settle refused")
        return time.perf_counter() - started

    def feed(self, client, layout, extra="", size=BATCH):
        """One batch: the seconds it took and the ids it moved."""
        started = time.perf_counter()
        rows = client.execute(layout.feed(extra, size=size), (QUEUE,)).fetchall()
        return time.perf_counter() - started, [row[0] for row in rows]

    def lsn(self):
        return self.one("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")

    def images(self):
        time.sleep(1.1)  # the server publishes WAL counters at most once a second
        return self.one("SELECT wal_fpi FROM pg_stat_wal")

    def updates(self, layout):
        """(updates, HOT updates) of the layout's tables, once the server has counted them."""
        seen = None
        while True:
            time.sleep(0.6)
            now = self.admin.execute(
                "SELECT sum(n_tup_upd)::int, sum(n_tup_hot_upd)::int FROM pg_stat_user_tables WHERE relname = ANY($1)",
                (list(layout.tables()),),
            ).fetchone()
            if now == seen:
                return now
            seen = now

    def round(self, layout, jobs, chunk):
        """Insert a chunk, work it off, repeat: one chunk of all jobs is a backlog, chunks of BATCH are a trickle."""
        self.create(layout)
        images, start, batches, spent, wal = self.images(), self.lsn(), [], 0.0, Counter()
        with self.connect() as web, self.connect(synchronous_commit="off") as client:
            for _ in range(0, jobs, chunk):
                begin = self.lsn()
                self.insert(web, layout, chunk)
                wal["insert"] += self.lsn() - begin
                for _ in range(0, chunk, BATCH):
                    begin = self.lsn()
                    seconds, job_ids = self.feed(client, layout)
                    fed = self.lsn()
                    batches.append(seconds)
                    spent += self.work(client, layout, job_ids)
                    wal["feed"] += fed - begin
                    wal["work"] += self.lsn() - fed
        total = self.lsn() - start
        return {
            "WAL B/job": total / jobs,
            "insert": wal["insert"] / jobs,
            "feed": wal["feed"] / jobs,
            "claim+settle": wal["work"] / jobs,
            "FPI/1000": 1000 * (self.images() - images) / jobs,
            "jobs/s": jobs / spent,
            "feed ms": 1000 * statistics.median(batches),
            **self.remains(layout, jobs),
        }

    def remains(self, layout, jobs):
        """What a round leaves behind: HOT counters, sizes, and what vacuuming it writes."""
        updates, hot = self.updates(layout)
        table, indexes = (
            float(sum(self.one(f"SELECT pg_{kind}_size($1::regclass)", name) for name in layout.tables())) / 1e6
            for kind in ("table", "indexes")
        )
        begin = self.lsn()
        for name in layout.tables():
            self.admin.execute(f"VACUUM {name}")
        vacuum = (self.lsn() - begin) / jobs
        return {
            "HOT/job": hot / jobs,
            "upd/job": updates / jobs,
            "table MB": table,
            "index MB": indexes,
            "vacuum B/job": vacuum,
        }

    def phases(self, layout, jobs=1000):
        """The HOT share of each statement on its own (a connection per phase, so that its counters are published)."""
        self.create(layout)
        with self.connect() as client:
            self.insert(client, layout, jobs)
        shares, job_ids, token = {}, [], uuid.uuid4()
        for phase in ("feed", "claim", "settle"):
            before = self.updates(layout)
            with self.connect() as client:
                if phase == "feed":
                    for _ in range(0, jobs, BATCH):
                        job_ids += self.feed(client, layout)[1]
                else:
                    values = (WORKER, token) if phase == "claim" else (token, RESULT)
                    for job_id in job_ids:
                        client.execute(getattr(layout, phase)(), (job_id, *values))
            updates, hot = (now - then for now, then in zip(self.updates(layout), before, strict=True))
            shares[f"HOT {phase}"] = f"{hot} of {updates}"
        return shares

    def snapshot(self, layout, jobs):
        """Feeder batches while a transaction as old as the table stays open.

        Claim and settle run set-wise, and the jobs between the first and the last batches are fed 2,000 at a time.
        """
        self.create(layout)
        with self.connect(synchronous_commit="off") as client, self.connect() as holder:
            holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            holder.execute("SELECT count(*) FROM job")
            self.insert(client, layout, 2000)
            first = [self.fed_and_worked(client, layout) for _ in range(20)]
            for _ in range(2000, jobs, 2000):
                self.insert(client, layout, 2000)
                self.fed_and_worked(client, layout, size=2000)
            self.insert(client, layout, 4000)
            oldest = self.one(f"SELECT min(available_at) FROM {layout.live} WHERE state = 'pending'")
            plain = [self.fed_and_worked(client, layout) for _ in range(20)]
            mark = f"AND available_at >= '{oldest}'"
            marked = [self.fed_and_worked(client, layout, mark) for _ in range(10)]
            exact = [self.fed_and_worked(client, layout, f"AND priority = 0 {mark}") for _ in range(10)]
            holder.execute("ROLLBACK")
            for table in layout.tables():
                self.admin.execute(f"VACUUM {table}")
            self.insert(client, layout, 2000)
            healed = [self.fed_and_worked(client, layout) for _ in range(20)]
        return {
            "first 20": 1000 * statistics.median(first),
            "last 20": 1000 * statistics.median(plain),
            "with mark": 1000 * statistics.median(marked),
            "mark+priority": 1000 * statistics.median(exact),
            "after vacuum": 1000 * statistics.median(healed),
        }

    def fed_and_worked(self, client, layout, extra="", size=BATCH):
        seconds, job_ids = self.feed(client, layout, extra, size)
        if len(job_ids) != size:
            raise SystemExit(f"{layout.name}: a batch of {len(job_ids)}")
        token = uuid.uuid4()
        for statement, values in ((layout.claim(), (WORKER, token)), (layout.settle(), (token, RESULT))):
            client.execute(statement.replace("WHERE id = $1", "WHERE id = ANY($1)"), (job_ids, *values))
        return seconds

    def load(self, layout, states):
        """Rows in the given states, straight into the table, as `later` those whose time is to come."""
        for state, count in states.items():
            final = state in ("succeeded", "failed")
            name, due, offset = ("pending", "false", "+ '1 day'") if state == "later" else (state, "true", "- '1 min'")
            lane, value = (", lane", f", {CASE}") if layout.writes_lane else ("", "")
            columns = "id, task, queue, priority, available_at, due, state, published_at, worker"
            finished = "now() - n * interval '1 s'" if final else "NULL"
            wide = f"""INSERT INTO job ({columns}, args, kwargs, tenant, finished_at{lane})
                SELECT gen_random_uuid(), 'a.b', '{QUEUE}', 0, now() {offset.replace("'", "interval '", 1)}, due, state,
                    now() - interval '1 min', '{WORKER}'::uuid, '[]', '{self.arguments}', 't', {finished}{value}
                FROM (SELECT '{name}'::text AS state, {due} AS due, n FROM generate_series(1, {count}) n) s"""
            if layout.live == "live" and not final:
                wide = f"""WITH wide AS ({wide} RETURNING {columns})
                    INSERT INTO live ({columns}) SELECT {columns} FROM wide"""
            self.admin.execute(wide)

    def robustness(self, layout):
        """For each state of the statistics, the statements whose plan misses its index."""
        busy = {"pending": 2000, "later": 500, "queued": 400, "running": 100}
        finished = {"succeeded": 199_800, "failed": 200}
        scenarios = {
            "of the empty table": ({}, finished | busy),
            "of finished jobs only": (finished, busy),
            "of five pending jobs": ({"pending": 5}, finished | busy),
            "fresh": (finished | busy, {}),
        }
        found = {}
        for scenario, (before, after) in scenarios.items():
            self.create(layout)
            self.load(layout, before)
            self.admin.execute("ANALYZE")
            self.load(layout, after)
            found[scenario] = "; ".join(self.misses(layout)) or "as intended"
        return found

    def misses(self, layout):
        missed = {}
        for mode in ("generic", "custom"):
            self.admin.execute(f"SET plan_cache_mode = force_{mode}_plan")
            for name, statement, allowed, values in layout.plans():
                used = self.used(statement, values)
                if not any(one.endswith(tuple(allowed)) for one in used) or any("Seq Scan" in one for one in used):
                    missed.setdefault(f"{name}: {' + '.join(sorted(used))}", []).append(mode)
        return [text if len(modes) == 2 else f"{text} ({modes[0]} plan)" for text, modes in missed.items()]

    def used(self, statement, values):
        """The names of the indexes in a plan, and its sequential scans."""
        literals = "(" + ", ".join(f"'{value}'" for value in values) + ")" if values else ""
        self.admin.execute("DEALLOCATE ALL")
        self.admin.execute(f"PREPARE it AS {statement}")
        plan = "\n".join(row[0] for row in self.admin.execute(f"EXPLAIN (COSTS OFF) EXECUTE it{literals}"))
        return {index or scan for scan, index in SCAN.findall(plan.replace('"', ""))}


def shown(value):
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def table(title, rows):
    names = list(next(iter(rows.values())))
    print(f"\n## {title}\n")
    print("| layout | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for layout, values in rows.items():
        print(f"| {layout} | " + " | ".join(shown(value) for value in values.values()) + " |", flush=True)


def medians(rounds):
    return {key: statistics.median(float(one[key]) for one in rounds) for key in rounds[0]}


def happy_path(bench, rounds, jobs, chunk):
    results = {layout.name: [] for layout in LAYOUTS}
    for number in range(rounds):
        for layout in LAYOUTS[number % len(LAYOUTS) :] + LAYOUTS[: number % len(LAYOUTS)]:
            results[layout.name].append(bench.round(layout, jobs, chunk))
    return {
        name: medians(rounds) | {"jobs/s by round": " ".join(f"{one['jobs/s']:.0f}" for one in rounds)}
        for name, rounds in results.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dsn", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--snapshot-jobs", type=int, default=200_000)
    parser.add_argument("--full-indexes", type=int, default=0, help="further full indexes on the wide row (0 to 6)")
    parser.add_argument("--argument-bytes", type=int, default=200)
    parser.add_argument("--only", choices=("backlog", "trickle", "hot", "plans", "snapshot"), action="append")
    options = parser.parse_args()
    name = f"layout_{secrets.token_hex(4)}"
    with psycopg.connect(options.dsn, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            dsn = make_conninfo(options.dsn, dbname=name)
            measure(Bench(dsn, options.full_indexes, options.argument_bytes), options)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def measure(bench, options):
    print(bench.one("SELECT version()"), f"psycopg {psycopg.__version__}", datetime.now(UTC).date(), sep="; ")
    jobs = options.jobs
    extra = f"{options.full_indexes} further full indexes, {options.argument_bytes} B arguments"
    size = f"{options.rounds} x {jobs} jobs, {extra}"
    parts = {
        "hot": ("HOT updates by statement", bench.phases),
        "plans": ("Statements that miss their index, by the statistics they are planned with", bench.robustness),
        "backlog": (f"Happy path, backlog, {size}", jobs),
        "trickle": (f"Happy path, trickle, {size}", BATCH),
        "snapshot": (
            f"Feeder ms per batch before and after {options.snapshot_jobs} jobs under an open snapshot",
            lambda layout: bench.snapshot(layout, options.snapshot_jobs),
        ),
    }
    for part in options.only or parts:
        title, measured = parts[part]
        if callable(measured):
            table(title, {layout.name: measured(layout) for layout in LAYOUTS})
        else:
            table(title, happy_path(bench, options.rounds, jobs, measured))


if __name__ == "__main__":
    main()
