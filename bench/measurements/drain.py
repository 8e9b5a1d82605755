"""How fast a backlog is worked off, under which circumstances, and what that costs."""

import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from bench.contestants import Contestant
from bench.stage import Stage, Theatre, Unable


def drain(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """The backlog waits in the contestant's own store before its workers start."""
    count = max(10, int(options.jobs * contestant.share))
    with theatre.stage(contestant) as stage:
        stage.fill("append", count)
        return work_off(stage, count)


def settled(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """The same, from when a quarter is done: what runs beside the first jobs (agents that connect, modules that are
    imported when first needed) happens once in the life of a worker, and is no part of what a job costs.
    """
    with theatre.stage(contestant) as stage:
        stage.fill("append", options.jobs)
        return work_off(stage, options.jobs, first=max(1, options.jobs // 4))


def work_off(stage: Stage, count: int, *, first: int = 1) -> dict[str, Any]:
    """Start the workers and watch them do so many jobs; what they were at, per second and per job.

    The clock starts when ``first`` of them are seen to be done, for everyone: starting processes, importing and
    connecting are not counted, nor are the jobs done by then.
    """
    before = stage.done()
    stage.start_workers()
    stage.wait(before + first)
    cpu, started, already = stage.cpu_seconds(), time.monotonic_ns(), stage.done()
    ended = stage.wait(before + count)
    timed = before + count - already
    if timed <= 0:
        raise Unable(f"{count} jobs were done before the first look: too few to time")
    usage = stage.usage()
    stage.stop_workers()
    return {
        "jobs": timed,
        "rate": timed / ((ended - started) / 1e9),
        "cpu_ms": (usage.cpu_seconds - cpu) * 1000 / timed,
        "rss_mb": max(usage.rss_kb.values(), default=0) / 1024,
        "pss_mb": usage.pss_kb / 1024,
        "processes": len(usage.rss_kb),
        "surplus": stage.done() - before - count,
    }


def growth(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """The same number of jobs drained with few and with many waiting."""
    rates = {}
    for key, waiting in (("few", options.few), ("many", options.many)):
        with theatre.stage(contestant) as stage:
            stage.fill("append", waiting)
            rates[key] = work_off(stage, options.few)["rate"]
    return {"few_rate": rates["few"], "many_rate": rates["many"], "ratio": rates["many"] / rates["few"]}


def beside_snapshot(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """Drained while a snapshot is open that saw none of the jobs which were drained since, and without it.

    A snapshot does harm by the dead rows that nobody may remove while it is open: its age is given as jobs.
    """
    found: dict[str, Any] = {}
    for key in ("without", "beside"):
        with theatre.stage(contestant) as stage, open_snapshot(stage) if key == "beside" else nullcontext():
            stage.fill("append", options.age)
            work_off(stage, options.age)
            # What autovacuum does within a minute, done now in both cases. Beside the snapshot it removes nothing.
            stage.sql("VACUUM")
            stage.fill("append", options.jobs)
            found[f"dead_rows_{key}"] = dead_rows(stage)
            found[f"{key}_rate"] = work_off(stage, options.jobs)["rate"]
    return {**found, "ratio": found["beside_rate"] / found["without_rate"]}


@contextmanager
def open_snapshot(stage: Stage) -> Iterator[None]:
    import psycopg

    with psycopg.connect(stage.database) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1")
        yield


def dead_rows(stage: Stage) -> int:
    return int(stage.sql("SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables")[0][0])
