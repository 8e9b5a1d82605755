"""What a simulated job is to do when it runs, decided when it is enqueued."""

from __future__ import annotations

import dataclasses
import json
from random import Random

from taskyard.tasks.task import Task
from taskyard.tasks.unique import unique_key, unique_lock
from tests.simulation import tasks


@dataclasses.dataclass(frozen=True)
class Act:
    """What the body does in one attempt: ``return``, ``raise``, ``snooze``, ``discard`` or ``die`` (with its child)."""

    kind: str
    seconds: float
    #: How many jobs follow a success.
    links: int = 0


@dataclasses.dataclass
class Spec:
    """A job as its caller means it."""

    number: int
    task: Task[..., None]
    acts: list[Act]
    #: Seconds since the epoch, by the caller's clock.
    due_at: float
    key: int | None = None
    expires_at: float | None = None
    #: Jobs that follow jobs do not have followers of their own.
    is_link: bool = False

    @property
    def arguments(self) -> dict[str, int]:
        """Keyword arguments of the call."""
        return {"number": self.number} if self.key is None else {"number": self.number, "key": self.key}

    @property
    def kwargs(self) -> str:
        """As they are stored."""
        return json.dumps(self.arguments, separators=(",", ":"))

    @property
    def is_unique(self) -> bool:
        """Whether it holds a key."""
        return self.key is not None

    @property
    def lock(self) -> str | None:
        """The value its row holds while it is unfinished."""
        if self.key is None or self.task.options.unique is None:
            return None
        return unique_lock(self.task.name, "", unique_key(self.task.name, self.task.options.unique, self.arguments))

    @property
    def is_outside(self) -> bool:
        """Whether a program that is not ours runs it."""
        return self.task is tasks.outside

    def act(self, attempt: int) -> Act:
        """What it does in that attempt; the last act is repeated."""
        return self.acts[min(attempt, len(self.acts)) - 1]


def draw(rng: Random, number: int, now: float, *, is_link: bool = False) -> Spec:
    """A job of some kind."""
    task = rng.choice((tasks.plain, tasks.plain, tasks.stubborn, tasks.stubborn, tasks.single, tasks.brief))
    if not is_link and rng.random() < 0.08:
        task = tasks.outside
    key = rng.randint(1, 2) if task.options.unique else None
    is_poison = not is_link and rng.random() < 0.08
    acts = [Act("die", rng.uniform(0, 1))] if is_poison else _acts(rng, is_link=is_link)
    due_at = now + rng.uniform(0.5, 4) if rng.random() < 0.25 else now
    return Spec(number, task, acts, due_at, key, is_link=is_link)


def _acts(rng: Random, *, is_link: bool) -> list[Act]:
    acts = []
    while rng.random() < 0.35 and len(acts) < 3:
        acts.append(Act(rng.choice(("raise", "raise", "snooze", "die")), _seconds(rng)))
    last = "discard" if rng.random() < 0.1 else "return"
    links = rng.choice((1, 1, 2)) if not is_link and last == "return" and rng.random() < 0.3 else 0
    return [*acts, Act(last, _seconds(rng), links)]


def _seconds(rng: Random) -> float:
    # Some run for longer than a worker may be silent.
    return rng.uniform(4, 10) if rng.random() < 0.15 else rng.uniform(0.01, 1.0)
