"""What a scheduler costs beside very many schedules, and how late it is when many are due."""

import time
from argparse import Namespace
from typing import Any

from bench import processes
from bench.contestants import PYTHON, Contestant
from bench.measurements.workers import SETTLE_SECONDS
from bench.stage import Stage, Theatre

#: Each is due once in so many seconds, while they are dispatched.
PERIOD = 60
#: How often somebody looks what was dispatched: what lateness is exact to.
LOOK_SECONDS = 0.02
SCHEDULER = (*PYTHON, "taskyard", "scheduler")

#: So many like the first, none of them due today; every ``PERIOD`` seconds, each second as many.
_MORE = """
INSERT INTO taskyard_schedule ({columns}, name, recurrence, next_at, decided_until)
SELECT {columns}, 'bench-' || n, jsonb_set(recurrence::jsonb, '{{phase_seconds}}', to_jsonb(n % {period}))::text,
    now() + interval '2 days' + n * interval '1 ms', now() + interval '1 day'
FROM taskyard_schedule, generate_series(1, {count}) AS n
"""
#: Due once in every period from a moment on, as their recurrence says.
_BEGIN = """
UPDATE taskyard_schedule SET decided_until = to_timestamp({begin} - 1),
    next_at = to_timestamp({begin} + mod(id_number - {begin} % {period} + {period}, {period}))
FROM (SELECT id AS number_of, substr(name, 7)::int % {period} AS id_number FROM taskyard_schedule
    WHERE name LIKE 'bench-%' ORDER BY id LIMIT {count}) AS chosen WHERE id = number_of
"""


def schedules(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    with theatre.stage(contestant) as stage:
        stage.ask("schedule", name="template", seconds=PERIOD)
        columns = ", ".join(
            column for (column,) in stage.sql(
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'taskyard_schedule'"
                " AND column_name NOT IN ('id', 'name', 'recurrence', 'next_at', 'decided_until')"
            )
        )  # fmt: skip
        stage.sql(_MORE.format(columns=columns, count=options.schedules, period=PERIOD))
        stage.sql("UPDATE taskyard_schedule SET enabled = false, next_at = NULL WHERE name = 'template'")
        stage.sql("VACUUM ANALYZE taskyard_schedule")
        stage.checkpoint()
        return {"ready_s": ready(stage), **idle(stage, options), **busy(stage, options)}


def ready(stage: Stage) -> float:
    """From the start of the process to its first decision, about a schedule that has been due for a while."""
    stage.sql("UPDATE taskyard_schedule SET next_at = now(), decided_until = now() - interval '61 s' WHERE id ="
              " (SELECT max(id) FROM taskyard_schedule)")  # fmt: skip
    started = time.monotonic()
    stage.start_worker(SCHEDULER)
    stage.wait_for(lambda: decided(stage, 0) != [], "the first decision")
    return time.monotonic() - started


def idle(stage: Stage, options: Namespace) -> dict[str, float]:
    time.sleep(SETTLE_SECONDS)
    before, started = stage.cpu_seconds(), time.monotonic()
    time.sleep(options.idle_seconds)
    seconds = time.monotonic() - started
    return {
        "idle_percent": (stage.cpu_seconds() - before) / seconds * 100, "idle_rss_mb": rss_mb(stage),
        "edit_s": edit(stage),
    }  # fmt: skip


def edit(stage: Stage) -> float:
    """From the commit of an edit, by another process, to the decision it brings about at once."""
    last = newest(stage)
    stage.ask("schedule", name="template", seconds=1)
    committed = time.monotonic()
    stage.wait_for(lambda: decided(stage, last) != [], "the edited schedule")
    seconds = time.monotonic() - committed
    stage.sql("UPDATE taskyard_schedule SET enabled = false, next_at = NULL WHERE name = 'template'")
    return seconds


def busy(stage: Stage, options: Namespace) -> dict[str, float]:
    """As many due in each second as asked for; late is what is seen written, against when it was due."""
    begin = int(time.time()) + 20
    stage.sql(_BEGIN.format(begin=begin, period=PERIOD, count=options.due * PERIOD))
    # Autovacuum would do so within a minute; here it must not fall into the seconds that count.
    stage.sql("VACUUM ANALYZE taskyard_schedule")
    last, late, counted = newest(stage), [], 0
    cpu = stage.cpu_seconds()
    while time.time() < begin + options.seconds + 2:
        rows = decided(stage, last)
        now = time.time()
        if rows:
            last = rows[-1][0]
            late += [now - float(at) for _, at in rows if begin <= float(at) < begin + options.seconds]
        time.sleep(LOOK_SECONDS)
    late.sort()
    counted = len(late)
    return {
        "due": counted / options.seconds, "late_p50_ms": late[counted // 2] * 1000,
        "late_p99_ms": late[int(0.99 * (counted - 1))] * 1000, "rss_mb": rss_mb(stage),
        "busy_percent": (stage.cpu_seconds() - cpu) / (time.time() - begin) * 100,
    }  # fmt: skip


def rss_mb(stage: Stage) -> float:
    return max(processes.usage(stage.worker_pids()).rss_kb.values()) / 1024


def newest(stage: Stage) -> int:
    return int(stage.sql("SELECT coalesce(max(id), 0) FROM taskyard_occurrence")[0][0])


def decided(stage: Stage, after: int) -> list[tuple[Any, ...]]:
    return stage.sql(
        f"SELECT id, extract(epoch FROM effective_at) FROM taskyard_occurrence WHERE id > {after} ORDER BY id"
    )
