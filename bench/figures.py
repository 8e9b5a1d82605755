"""The figures that must hold, and what the results say about each."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

#: Where the results of a run are: measurement -> what :func:`bench.run.run` returned.
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """One number and its two bars. With ``against``, the number is a ratio, taken within each round."""

    says: str
    measurement: str
    contestant: str
    key: str
    must: float
    aim: float
    against: str = ""
    is_limit: bool = False
    unit: str = ""

    @property
    def name(self) -> str:
        """Its key in notes.toml."""
        return "/".join(filter(None, (self.measurement, self.contestant, self.key, self.against)))

    def values(self, results: Results) -> list[float]:
        """One per round in which everybody it needs took part."""
        rounds = results.get(self.measurement, {}).get("rounds", [])
        needed = [name for name in (self.contestant, self.against) if name]
        complete = [one for one in rounds if all(name in one for name in needed)]
        return [
            one[self.contestant][self.key] / (one[self.against][self.key] if self.against else 1) for one in complete
        ]

    def verdict(self, results: Results) -> str:
        values = self.values(results)
        if not values:
            return "not measured"
        holds: Callable[[float, float], bool] = operator.le if self.is_limit else operator.ge
        if holds(median(values), self.aim):
            return "aim"
        return "must" if holds(median(values), self.must) else "**MISSED**"


NAMES = {"redis": "Redis", "rabbitmq": "RabbitMQ", "database": "PostgreSQL alone"}


def _against(says: str, measurement: str, who: str, other: str, must: float, aim: float) -> Figure:
    return Figure(says, measurement, who, "rate", must, aim, against=other, unit="×")


def _each(says: str, measurement: str, key: str, must: float, aim: float, **more: Any) -> list[Figure]:
    return [
        Figure(f"{says}, {NAMES[broker]}", measurement, f"taskyard-{broker}", key, must, aim, **more)
        for broker in ("database", "redis", "rabbitmq")
    ]


FIGURES = [
    _against("drain, Redis, against Celery", "drain", "taskyard-redis", "celery-redis", 0.8, 1.2),
    _against("drain, RabbitMQ, against Celery", "drain", "taskyard-rabbitmq", "celery-rabbitmq", 0.45, 0.9),
    _against("end to end, Redis, against Celery", "end_to_end", "taskyard-redis", "celery-redis", 0.8, 1.1),
    _against("end to end, RabbitMQ, against Celery", "end_to_end", "taskyard-rabbitmq", "celery-rabbitmq", 0.6, 0.9),
    *(
        _against(f"drain, {NAMES[broker]}, against django-celery-results {how}", "drain", f"taskyard-{broker}", *bars)
        for broker in ("redis", "rabbitmq")
        for how, *bars in (
            ("with connection reuse", f"results-reuse-{broker}", 2.2, 5),
            ("as it comes", f"results-{broker}", 5, 12),
        )
    ),
    _against("drain, RabbitMQ, against Procrastinate", "drain", "taskyard-rabbitmq", "procrastinate", 1.5, 3),
    _against("drain, RabbitMQ, against django-tasks-db", "drain", "taskyard-rabbitmq", "django-tasks-db", 1.5, 3),
    _against("drain, PostgreSQL alone, against Procrastinate", "drain", "taskyard-database", "procrastinate", 1, 1.5),
    _against("drain, `pack=True`, against Celery on Redis", "drain", "taskyard-pack", "celery-redis", 4, 10),
    _against("enqueue one by one, against `.delay()` on Redis", "enqueue", "taskyard-redis", "celery-redis", 1, 1.5),
    Figure("enqueue_many", "enqueue_many", "taskyard-database", "plain_rate", 60_000, 120_000, unit="rows/s"),
    Figure(
        "enqueue_many with unique keys", "enqueue_many", "taskyard-database", "unique_rate", 40_000, 60_000,
        unit="rows/s",
    ),
    # Flat: ten times the jobs may cost what an allocator and a few caches cost, not what jobs cost.
    Figure(
        "enqueue_many, memory above that of a tenth", "enqueue_many", "taskyard-database", "plain_growth_mb", 8, 4,
        is_limit=True, unit="MB",
    ),
    Figure(
        "the same with unique keys", "enqueue_many", "taskyard-database", "unique_growth_mb", 8, 4, is_limit=True,
        unit="MB",
    ),
    Figure("fan-out to 10,000 tenants", "fanout", "taskyard-database", "first_s", 2, 1, is_limit=True, unit="s"),
    Figure(
        "its busiest second against the mean", "fanout", "taskyard-database", "first_peak", 1.2, 1.15, is_limit=True,
        unit="×",
    ),
    Figure(
        "its memory for ten times the tenants", "fanout", "taskyard-database", "growth_mb", 8, 4, is_limit=True,
        unit="MB",
    ),
    *_each("enqueue to start, idle, p50", "latency", "idle_p50_ms", 15, 15, is_limit=True, unit="ms"),
    *_each("enqueue to start, idle, p99", "latency", "idle_p99_ms", 60, 25, is_limit=True, unit="ms"),
    # No difference: what two turns with the broker up differ by.
    Figure("enqueue, broker down", "outage", "taskyard-redis", "down_ratio", 1.1, 1.02, is_limit=True, unit="×"),
    Figure("enqueue, broker frozen", "outage", "taskyard-redis", "frozen_ratio", 1.1, 1.02, is_limit=True, unit="×"),
    *_each("drain, many waiting against few", "growth", "ratio", 0.9, 1.0, unit="×"),
    *(
        Figure(
            f"CPU per untracked job, {NAMES[broker]}, against Celery", "cpu", f"taskyard-untracked-{broker}", "cpu_ms",
            1.05, 1.0, against=f"celery-{broker}", is_limit=True, unit="×",
        )
        for broker in ("redis", "rabbitmq")
    ),
    *_each("drain beside an old snapshot", "snapshot", "ratio", 0.8, 0.95, unit="×"),
    # Bounded: a third of the time later it is not larger by more than one batch of pruning.
    Figure("sustained, size", "sustained", "taskyard-redis", "flat", 1.1, 1.02, is_limit=True, unit="×"),
    *_each("lost child to re-run", "recovery", "child_s", 5, 1, is_limit=True, unit="s"),
    *_each("lost worker to re-run", "recovery", "worker_s", 30, 25, is_limit=True, unit="s"),
    *_each("nine equal tenants, Jain's index over any 10 s", "fairness", "jain", 0.999, 0.9999),
    *_each("weights 1:3:6, off by", "fairness", "weights_off", 0.05, 0.02, is_limit=True),
    *_each(
        "newcomer beside a flood, beyond two mean run times", "fairness", "newcomer_s", 0.5, 0.4, is_limit=True,
        unit="s",
    ),
    *_each("a flood in a thousand parts, against its share", "fairness", "parts", 1.05, 1.0, is_limit=True, unit="×"),
    *_each("one tenant alone, CPU per job", "fairness", "alone", 1.05, 1.01, is_limit=True, unit="×"),
    *(
        Figure(says, "schedules", "taskyard-database", key, must, aim, is_limit=True, unit=unit)
        for says, key, must, aim, unit in (
            ("a million schedules, scheduler ready", "ready_s", 2, 1.5, "s"),
            ("the same, idle", "idle_percent", 2, 1, "% of a core"),
            ("the same, memory", "rss_mb", 150, 100, "MB"),
            ("the same, a thousand due a second, late, p99", "late_p99_ms", 1000, 250, "ms"),
            ("the same, an edit takes effect", "edit_s", 2, 1.2, "s"),
        )
    ),
    *(
        Figure(f"progress 100,000 times a second, {says}", "progress", "taskyard-database", key, must, aim,
               is_limit=True, unit=unit)
        for says, key, must, aim, unit in (
            ("progress() adds", "progress_percent", 5, 2, "%"),
            ("track() adds", "track_percent", 5, 3, "%"),
            ("writes", "writes", 3, 2.5, "/s"),
        )
    ),
    Figure("a saga's step in place adds", "sagas", "taskyard-database", "added_ms", 2, 1, is_limit=True, unit="ms"),
    *_each("idle worker with all agents", "idle", "percent", 1, 0.5, is_limit=True, unit="% of a core"),
]  # fmt: skip
