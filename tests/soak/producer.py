"""A process of the project that enqueues, at a pace, and writes down what it committed.

``python -m tests.soak.producer``, with its orders in the environment. Ends when the file ``stop`` is there, or when it
has written its share.
"""

import os
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.db import DatabaseError, InterfaceError, connection


class Undone(Exception):
    """A transaction that the project itself rolls back."""


class Producer:
    """Chooses what to write next, one transaction each."""

    def __init__(self, folder: Path, seed: int, name: str) -> None:
        from tests.soak.ledger import HISTORY

        self.folder, self.history = folder, HISTORY
        # Not from the seed alone: what a restarted producer writes must not look like what it wrote before.
        self.chance = random.Random(f"{seed} {name}")
        self.name = name
        self.n = 0
        self.written = 0
        #: Failed jobs that an operator may bring back, with the time from when on.
        self.to_mend: list[tuple[float, uuid.UUID]] = []

    def run(self, jobs: int, per_second: float) -> None:
        """Until its share is written or somebody says stop."""
        begun, allowed = time.monotonic(), 0.0
        while self.written < jobs and not (self.folder / "stop").exists():
            allowed = min((time.monotonic() - begun) * per_second, jobs)
            if self.written >= allowed:
                time.sleep(0.01)
                continue
            try:
                self.write_something()
            except (DatabaseError, InterfaceError) as error:
                print(f"{self.name}: {type(error).__name__}: {error}".splitlines()[0], flush=True)
                connection.close()
                time.sleep(0.2)
        self.mend(everything=True)

    def write_something(self) -> None:
        from tests.soak import scenarios

        self.n += 1
        self.mend()
        if self.chance.random() < 0.02:
            wanted: Callable[[Producer], None] = scenarios.many
        else:
            known = scenarios.known()
            wanted = self.chance.choices([scenario for scenario, _ in known], [weight for _, weight in known])[0]
        wanted(self)

    def count(self, ids: list[Any]) -> None:
        self.written += len(ids)

    def mend(self, *, everything: bool = False) -> None:
        """What an operator does: bring failed and cancelled jobs back."""
        from tests.soak import scenarios

        now = time.monotonic()
        while self.to_mend and (everything or self.to_mend[0][0] < now):
            _, job_id = self.to_mend.pop(0)
            scenarios.bring_back(self, job_id)


def main() -> None:
    django.setup()
    folder = Path(os.environ["SOAK_FOLDER"])
    producer = Producer(folder, int(os.environ["SOAK_SEED"]), os.environ["SOAK_NAME"])
    try:
        producer.run(int(os.environ["SOAK_JOBS"]), float(os.environ["SOAK_RATE"]))
    finally:
        (folder / f"written-{producer.name}").write_text(str(producer.written))


if __name__ == "__main__":
    main()
