"""What a run is asked to do, and which faults strike in it: decided by the seed alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from taskyard.testing.faults import POINTS

BROKERS = ("database", "redis", "rabbitmq")
DATABASES = ("postgres", "sqlite", "mysql")


@dataclass(frozen=True)
class Options:
    seed: int
    broker: str = "database"
    database: str = "postgres"
    seconds: float = 1200.0
    jobs: int = 100_000
    workers: int = 3
    #: The real timings of the package instead of shortened ones.
    is_default_timed: bool = False
    #: A slice of a run: only faults that are over within seconds, close to each other.
    is_short: bool = False
    #: Keep the history and the logs even if all is well.
    is_kept: bool = False

    @property
    def worker_timeout(self) -> float:
        return 20.0 if self.is_default_timed else 6.0

    @property
    def taskyard(self) -> dict[str, object]:
        if self.is_default_timed:
            return {}
        seconds = {
            "WORKER_TIMEOUT": self.worker_timeout, "HEARTBEAT": 1, "REPUBLISH_AFTER": 2, "PUBLISH_TIMEOUT": 2,
            "SHUTDOWN_GRACE": 4,
        }  # fmt: skip
        return {name: {"seconds": value} for name, value in seconds.items()}


@dataclass(frozen=True)
class Kind:
    """A kind of fault: where it can be done, how long it is held, how likely it is."""

    name: str
    hold: tuple[float, float] = (0.5, 3.0)
    weight: int = 2
    brokers: tuple[str, ...] = BROKERS
    databases: tuple[str, ...] = DATABASES
    #: Whether it is over soon enough for a slice.
    is_quick: bool = True
    #: Whether a worker may lose a process meanwhile.
    with_kill: bool = False


_REMOTE = ("redis", "rabbitmq")
_SERVED = ("postgres", "mysql")

KINDS = (
    Kind("kill-main", weight=3),
    Kind("kill-group", weight=3),
    Kind("kill-child", weight=3),
    Kind("kill-at-point", weight=4),
    Kind("freeze-worker", (0.5, 3.0)),
    Kind("freeze-main", (0.5, 3.0)),
    Kind("terminate", weight=3),
    Kind("deploy", weight=1),
    Kind("broker-restart", brokers=_REMOTE, with_kill=True),
    Kind("broker-killed", brokers=_REMOTE, with_kill=True),
    Kind("broker-flushed", (0.0, 0.5), brokers=_REMOTE),
    Kind("broker-frozen", (2.0, 9.0), brokers=_REMOTE, with_kill=True),
    Kind("broker-cut", (0.0, 0.5), brokers=_REMOTE),
    Kind("broker-full", (2.0, 8.0), brokers=_REMOTE, with_kill=True),
    Kind("network-reset", (0.0, 0.5), brokers=_REMOTE),
    Kind("network-refused", (1.0, 5.0), brokers=_REMOTE, with_kill=True),
    Kind("network-lost", (3.0, 8.0), brokers=_REMOTE, is_quick=False),
    Kind("network-half-open", (0.0, 0.5), weight=1, brokers=_REMOTE, is_quick=False),
    Kind("tables-emptied", (0.0, 0.5), brokers=("database",)),
    Kind("database-cut", (0.0, 0.5), databases=_SERVED, weight=3),
    Kind("database-restart", (0.5, 3.0), databases=_SERVED, with_kill=True),
    Kind("database-crash", (0.5, 3.0), databases=_SERVED, with_kill=True),
    Kind("database-locked", (1.0, 6.0), databases=("sqlite",), with_kill=True),
)


@dataclass(frozen=True)
class Fault:
    """One fault of a run."""

    number: int
    kind: str
    #: Seconds of peace before it, counted from when the one before was healed and work went on.
    after: float
    hold: float
    #: Which worker it strikes, where it strikes one.
    worker: int
    point: str
    #: Kill that worker's children while the fault is held.
    with_kill: bool


def possible(options: Options) -> list[Kind]:
    """The kinds of fault that can be done to these servers."""
    return [
        kind
        for kind in KINDS
        if options.broker in kind.brokers
        and options.database in kind.databases
        and (kind.is_quick or not options.is_short)
    ]


def faults(options: Options) -> Iterator[Fault]:
    """Without end: first every kind once, in any order, then as their weights say."""
    chance = random.Random(options.seed)
    kinds = possible(options)
    order = sorted(kinds, key=lambda kind: chance.random())
    number = 0
    while True:
        kind = order[number] if number < len(order) else chance.choices(kinds, [kind.weight for kind in kinds])[0]
        number += 1
        yield Fault(
            number, kind.name, after=chance.uniform(0.5, 1.5) if options.is_short else chance.uniform(1.0, 7.0),
            hold=chance.uniform(*kind.hold) / (2 if options.is_short else 1), worker=chance.randrange(options.workers),
            point=chance.choice(sorted(POINTS)), with_kill=kind.with_kill and chance.random() < 0.4,
        )  # fmt: skip
