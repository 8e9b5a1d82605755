"""What workers do when nothing is to do, when they are killed, and over a long time."""

import os
import signal
import time
from argparse import Namespace
from typing import Any

from bench import processes
from bench.contestants import Contestant
from bench.stage import Stage, Theatre

#: Until a worker has done what it does once after its start.
SETTLE_SECONDS = 5.0
HOLD_SECONDS = 300
#: Points of a long run's chart.
SAMPLES = 60


def idle(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """A worker with nothing to do: its CPU time, children and agents included."""
    with theatre.stage(contestant) as stage:
        stage.start_workers(ready=True)
        time.sleep(SETTLE_SECONDS)
        before, started = stage.cpu_seconds(), time.monotonic()
        time.sleep(options.idle_seconds)
        usage = stage.usage()
        seconds = time.monotonic() - started
    return {"percent": (usage.cpu_seconds - before) / seconds * 100, "pss_mb": usage.pss_kb / 1024}


def recovery(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """`kill -9` while a job runs, with default settings: until its next attempt begins."""
    return {"child_s": after_kill(theatre, contestant, "child"), "worker_s": after_kill(theatre, contestant, "worker")}


def after_kill(theatre: Theatre, contestant: Contestant, victim: str) -> float:
    with theatre.stage(contestant) as stage:
        stage.start_workers(ready=True)
        if victim == "worker":
            # Somebody has to be there to take over.
            stage.start_workers()
        stage.ask("send", task="hold", value=HOLD_SECONDS)
        stage.wait_for(lambda: len(stage.marks()) == 1, "the job to start")
        [(_, pid)] = stage.marks()
        killed = time.monotonic_ns()
        os.kill(pid if victim == "child" else main_of(stage, pid), signal.SIGKILL)
        stage.wait_for(lambda: len(stage.marks()) == 2, "the job to start again")
        return (stage.marks()[1][0] - killed) / 1e9


def main_of(stage: Stage, pid: int) -> int:
    """The worker that this child belongs to."""
    return next(worker for worker in stage.worker_pids() if pid in processes.tree([worker]))


def sustained(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """Jobs come and are pruned as fast as workers end them; how large the table and its indexes are over time."""
    retention = {"succeeded": options.retention}
    series: list[dict[str, float]] = []
    with theatre.own_postgres(), theatre.stage(contestant, RETENTION=retention) as stage:
        stage.start_workers(ready=True)
        stage.forget()
        started = time.monotonic()
        sent = done = 0
        at = 0.0
        for number in range(SAMPLES):
            until = started + (number + 1) * options.minutes * 60 / SAMPLES
            sent = keep_busy(stage, sent, until, options.jobs // 4)
            now, ended = time.monotonic() - started, stage.done()
            series.append({"seconds": now, "rate": (ended - done) / (now - at), **sizes(stage)})
            at, done = now, ended
    return {"rate": done / at, "flat": flatness(series), "series": series}


def keep_busy(stage: Stage, sent: int, until: float, backlog: int) -> int:
    """Send whenever less than half of a small backlog is left; the new count of what was sent."""
    while time.monotonic() < until:
        if sent - stage.done() < backlog / 2:
            stage.ask("fill", task="append", count=backlog)
            sent += backlog
        time.sleep(0.05)
    return sent


def sizes(stage: Stage) -> dict[str, float]:
    table, indexes, live, dead = stage.sql(
        "SELECT pg_table_size(relid), pg_indexes_size(relid), n_live_tup, n_dead_tup"
        " FROM pg_stat_user_tables WHERE relname = 'taskyard_job'"
    )[0]
    return {"table_mb": table / 2**20, "index_mb": indexes / 2**20, "live_rows": live, "dead_rows": dead}


def flatness(series: list[dict[str, float]]) -> float:
    """The largest size of the last third against the largest of the third before it."""
    third = len(series) // 3
    size = [one["table_mb"] + one["index_mb"] for one in series]
    return max(size[-third:]) / max(size[-2 * third : -third])
