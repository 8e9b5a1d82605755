"""What is measured: a function per measurement, which does one round of one contestant on a fresh stage."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.contestants import CONTESTANTS, Contestant
from bench.measurements import drain, enqueue, fairness, latency, progress, sagas, schedules, workers
from bench.stage import Theatre


@dataclass(frozen=True)
class Measurement:
    title: str
    #: How it is done, for the reader of RESULTS.md.
    method: str
    measure: Callable[[Theatre, Contestant, Namespace], dict[str, Any]]
    contestants: tuple[str, ...]
    #: Of what it returns, what is shown, and under which heading.
    columns: dict[str, str]
    #: Who takes part in a smoke run.
    quick: tuple[str, ...] = ("taskyard-redis",)
    #: Options it listens to, beside the number of rounds.
    options: tuple[str, ...] = ("jobs",)
    #: One long round, however many are asked for.
    once: bool = False
    #: What is drawn, and its unit; the first column if nothing is said.
    chart: tuple[str, str] | None = None


EVERYONE = tuple(CONTESTANTS)
OURS = ("taskyard-database", "taskyard-redis", "taskyard-rabbitmq")
CELERY = ("celery-redis", "celery-rabbitmq")
UNTRACKED = ("taskyard-untracked-redis", "taskyard-untracked-rabbitmq")

#: Every module, and each broker that it treats differently.
ONE_OF_EACH = (
    *OURS, "taskyard-pack", "taskyard-untracked-redis", *CELERY, "results-redis", "results-reuse-rabbitmq",
    "procrastinate", "django-tasks-db", "dramatiq-redis", "dramatiq-rabbitmq", "huey-redis",
)  # fmt: skip

MEASUREMENTS = {
    "drain": Measurement(
        "Drain of a waiting backlog",
        "The backlog waits in the system's own store (rows, a Redis list, a RabbitMQ queue) before the workers start;"
        " Taskyard's feeding is part of its drain. From the first byte seen to the last; what was done before the first"
        " look does not count.",
        drain.drain, EVERYONE, {"rate": "jobs/s"}, quick=ONE_OF_EACH,
    ),
    "end_to_end": Measurement(
        "End to end",
        "One producer sends one by one as fast as it can while idle workers are there: from the first call to the last"
        " byte.",
        latency.end_to_end, EVERYONE, {"rate": "jobs/s"}, quick=("taskyard-rabbitmq", "celery-rabbitmq"),
    ),
    "enqueue": Measurement(
        "Enqueue one by one",
        "One producer, one call after another, each its own transaction where there are any; no worker runs."
        " 200 calls go before.",
        enqueue.one_by_one, EVERYONE,
        {"rate": "calls/s", "p50_us": "p50 µs", "p99_us": "p99 µs", "cpu_ms": "CPU ms per call"},
        quick=("taskyard-redis", "celery-redis"),
    ),
    "enqueue_many": Measurement(
        "Enqueue many",
        "One `enqueue_many` into an empty table, without and with a unique key per job. Memory: the process's peak, and"
        " how much that is above the peak for a tenth of the jobs.",
        enqueue.many, ("taskyard-database",),
        {
            "plain_rate": "rows/s", "plain_peak_mb": "peak MB", "plain_growth_mb": "growth MB",
            "unique_rate": "unique rows/s", "unique_peak_mb": "peak MB", "unique_growth_mb": "growth MB",
        },
        quick=("taskyard-database",),
        options=("many",),
    ),
    "fanout": Measurement(
        "Fan-out to tenants",
        "One `enqueue_for_tenants` spread over a window (`--window`): to tenants that were never seen before, and the"
        " same once more. Peak: jobs of the busiest second of the window against the mean. Memory: the process's peak"
        " for ten times the tenants, above that for the two calls.",
        enqueue.fanout, ("taskyard-database",),
        {
            "first_s": "first call s", "again_s": "again s", "first_peak": "peak × mean", "again_peak": "again",
            "more_s": "ten times the tenants s", "growth_mb": "growth MB",
        },
        quick=("taskyard-database",),
        options=("tenants", "window"),
    ),
    "latency": Measurement(
        "Enqueue to start",
        "From just before the call to the first line of the function. Idle: 9.7 jobs a second. Half load: half of the"
        " end-to-end rate that a burst reached just before.",
        latency.latency, EVERYONE,
        {
            "idle_p50_ms": "idle p50 ms", "idle_p99_ms": "idle p99 ms", "half_rate": "half load/s",
            "half_p50_ms": "half load p50 ms", "half_p99_ms": "half load p99 ms",
        },
        chart=("idle_p99_ms", "ms, idle, p99"),
        options=("seconds", "jobs"),
    ),
    "outage": Measurement(
        "Enqueue while the broker is away",
        "Mean time of a call while Redis is up, killed, up again and stopped (SIGSTOP), in turns. No worker, but"
        " Taskyard's agents run and want to publish. A call of Celery's that does not return is counted with the time"
        " after which it was given up.",
        enqueue.outage, ("taskyard-redis", "celery-redis"),
        {
            "up_us": "up µs", "down_us": "down µs", "frozen_us": "frozen µs", "down_errors": "errors when down",
            "frozen_errors": "errors when frozen", "down_ratio": "down × up", "frozen_ratio": "frozen × up",
        },
        quick=("taskyard-redis",),
        chart=("frozen_us", "µs, frozen"),
        options=("jobs", "cycles", "budget"),
    ),
    "growth": Measurement(
        "Drain with few and with many waiting",
        "As many jobs as are waiting in the small case are drained in both.",
        drain.growth, OURS, {"few_rate": "few: jobs/s", "many_rate": "many: jobs/s", "ratio": "many × few"},
        chart=("ratio", "× few"),
        options=("few", "many"),
    ),
    "cpu": Measurement(
        "CPU and memory of the workers",
        "During a drain, from when a quarter of it is done: user and system time of the workers' whole process tree"
        " (/proc) per job; the largest process"
        " (RSS), and the tree with shared pages counted once (PSS).",
        drain.settled, (*UNTRACKED, *CELERY, *OURS),
        {"cpu_ms": "CPU ms per job", "rss_mb": "largest RSS MB", "pss_mb": "tree PSS MB", "processes": "processes"},
        quick=("taskyard-untracked-redis",),
    ),
    "snapshot": Measurement(
        "Drain beside an old open snapshot",
        "A transaction (REPEATABLE READ) is opened on the empty table and kept; jobs are drained, which leaves dead"
        " rows that nobody may remove; VACUUM; then the measured backlog. The same without it. What counts is"
        " the number of dead rows: ten minutes are ten minutes' worth of jobs (`--age`).",
        drain.beside_snapshot, OURS,
        {
            "without_rate": "without: jobs/s", "beside_rate": "beside: jobs/s", "dead_rows_beside": "dead rows",
            "ratio": "beside × without",
        },
        chart=("ratio", "× without"),
        options=("age", "jobs"),
    ),
    "recovery": Measurement(
        "Kill to re-run",
        "`kill -9` of the child that runs the job, or of its worker's main process while another worker is there;"
        " default settings. Until the first line of the next attempt.",
        workers.recovery, OURS, {"child_s": "lost child s", "worker_s": "lost worker s"},
        chart=("worker_s", "s, lost worker"),
        options=(),
    ),
    "idle": Measurement(
        "Idle worker",
        "CPU time of a worker's whole process tree, two children and all agents, with nothing to do.",
        workers.idle, (*OURS, *CELERY, "procrastinate"), {"percent": "% of a core", "pss_mb": "tree PSS MB"},
        options=("idle_seconds",),
    ),
    "fairness": Measurement(
        "Fair share between tenants",
        f"Twelve slots, jobs of 5 to 50 ms that rest. Nine equal tenants: the lowest of Jain's indices over all"
        f" {fairness.WINDOW_SECONDS} s. Weights 1:3:6: how far a share is from its weight, and starts per second."
        " A newcomer's job beside a flood (`--many` jobs): how long it waits beyond two mean run times. A flood in a"
        " thousand parts: its share against that of three others. One tenant alone: CPU per job of a drain against a"
        " feeder that looks for nobody else.",
        fairness.fairness, OURS,
        {
            "jain": "Jain's index", "weights_off": "weights off by", "starts": "starts/s", "newcomer_s": "newcomer s",
            "parts": "parts × fair", "alone": "alone × unfair",
        },
        options=("seconds", "many", "jobs"),
    ),
    "schedules": Measurement(
        "Very many schedules",
        "`taskyard scheduler` alone beside `--schedules` enabled ones. Ready: from the start of its process to its"
        " first decision. Idle: none is due. Edit: from the commit to the decision it brings about, at most a second"
        " of which lies in the recurrence. Busy: `--due` a second, each with its job; late is when the decision is"
        f" seen committed (looked for every {schedules.LOOK_SECONDS * 1000:.0f} ms), against when it was due.",
        schedules.schedules, ("taskyard-database",),
        {
            "ready_s": "ready s", "idle_percent": "idle % of a core", "idle_rss_mb": "idle RSS MB", "edit_s": "edit s",
            "due": "decided/s", "late_p50_ms": "late p50 ms", "late_p99_ms": "late p99 ms",
            "busy_percent": "busy % of a core", "rss_mb": "RSS MB",
        },
        quick=("taskyard-database",),
        chart=("late_p99_ms", "ms late, p99"),
        options=("schedules", "due", "seconds", "idle_seconds"),
    ),
    "progress": Measurement(
        "Progress reported a hundred thousand times a second",
        "A body of items of 10 µs of arithmetic each, silent, with `progress()` in each and as a loop over `track()`,"
        " in turns of a tenth of a second. CPU time of its thread against that of the silent turn before, and on top of"
        " it what the thread that writes takes. Writes: those that showed in the row.",
        progress.progress, ("taskyard-database",),
        {
            "rate": "items/s", "progress_percent": "progress() adds %", "track_percent": "track() adds %",
            "writes": "writes/s",
        },
        quick=("taskyard-database",),
        chart=("track_percent", "% added by track()"),
        options=(),
    ),
    "sagas": Measurement(
        "Sagas of five steps",
        "All of them wait when the workers start; of a hundred, twenty have a step that fails, and are compensated."
        " Steps append a byte, in the coordinator's process. Then, in one process and in turns: the five functions"
        " called directly, a saga of them inline, and one of ten. What a step adds is a fifth of what ten take more"
        " than five and the functions; the saga's own is what is left of it: its rows, its reading, taking it.",
        sagas.sagas, ("taskyard-database", "taskyard-redis"),
        {
            "rate": "sagas/s", "calls": "steps and compensations/s", "added_ms": "ms added by a step",
            "own_ms": "ms of the saga's own",
        },
        quick=("taskyard-database",),
        options=("sagas",),
        chart=("rate", "sagas/s"),
    ),
    "sustained": Measurement(
        "Sustained run with pruning",
        "A small backlog is kept full by `enqueue_many` while workers drain it and finished jobs are pruned after"
        " `--retention` seconds. Flat: the largest size (table and indexes) of the last third against that of the third"
        " before.",
        workers.sustained, ("taskyard-redis",), {"rate": "jobs/s", "flat": "last third × middle third"}, once=True,
        options=("minutes", "retention", "jobs"),
    ),
}  # fmt: skip
