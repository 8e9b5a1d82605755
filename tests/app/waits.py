"""Orchestrators that wait: for signals, for times, for sagas within them, for each other."""

import datetime as dt
from typing import Any

from taskyard.sagas import Context, Orchestrator, child, orchestrator, signal, step, timer
from taskyard.tasks.retry import NO_RETRY, RetryPolicy

from .orchestrators import effect

HOUR = dt.timedelta(hours=1)


class Refusal(Exception):
    """A business error."""


def act(context: Context, fails: str = "") -> str:
    """What a step of the tests does: it is written down, and then it may fail."""
    effect(context, context.step)
    if context.step in fails.split():
        raise Refusal(context.step)
    return context.step


@orchestrator("waits.visit")
class Visit(Orchestrator):
    """Waits for ever for a signal between two steps."""

    @step
    def ring(self, context: Context) -> str:
        return act(context)

    @ring.rollback
    def unring(self, context: Context, result: Any) -> None:
        effect(context, "-ring")

    approval = signal()

    @step
    def enter(self, context: Context, approval: Any, fails: str = "") -> Any:
        act(context, fails)
        return approval


@orchestrator("waits.reply")
class Reply(Orchestrator):
    """Waits an hour for an answer, and another hour for one that it can do without."""

    @step
    def ask(self, context: Context) -> str:
        return act(context)

    @ask.rollback
    def take_back(self, context: Context, result: Any) -> None:
        effect(context, "-ask")

    answer = signal(timeout=HOUR)
    comment = signal(timeout=HOUR, optional=True)

    @step
    def thank(self, context: Context, answer: Any, comment: Any) -> Any:
        act(context)
        return [answer, comment]


@orchestrator("waits.nap")
class Nap(Orchestrator):
    """Two timers: a while, and a time that the project names."""

    rest = timer(HOUR)
    alarm = timer(lambda context: dt.datetime.fromisoformat(context.inputs["at"]))

    @step
    def wake(self, context: Context, at: str) -> str:
        return act(context)


@orchestrator("waits.hurry", deadline=HOUR)
class Hurry(Orchestrator):
    """Has an hour for what comes before its pivot."""

    @step
    def pack(self, context: Context) -> str:
        return act(context)

    @pack.rollback
    def unpack(self, context: Context, result: Any) -> None:
        effect(context, "-pack")

    taxi = signal()

    @step(pivot=True)
    def go(self, context: Context) -> str:
        return act(context)

    arrival = signal()


@orchestrator("waits.pair")
class Pair(Orchestrator):
    """A group whose members may be unwanted, between two steps."""

    @step
    def lay(self, context: Context, fails: str = "", wanted: str = "left right") -> str:
        return act(context, fails)

    @lay.rollback
    def clear(self, context: Context, result: Any) -> None:
        effect(context, "-lay")

    @step(group="both", when=lambda context: "left" in context.inputs["wanted"])
    def left(self, context: Context, fails: str = "") -> str:
        return act(context, fails)

    @left.rollback
    def undo_left(self, context: Context, result: Any) -> None:
        effect(context, "-left")

    @step(group="both", when=lambda context: "right" in context.inputs["wanted"])
    def right(self, context: Context, fails: str = "") -> str:
        return act(context, fails)

    @right.rollback
    def undo_right(self, context: Context, result: Any) -> None:
        effect(context, "-right")

    @step
    def serve(self, context: Context, left: Any, right: Any, fails: str = "") -> Any:
        act(context, fails)
        return [left, right]


@orchestrator("waits.inner")
class Inner(Orchestrator):
    """What runs within :class:`Outer`."""

    @step(compensation_retry=NO_RETRY)
    def open(self, context: Context, fails: str = "") -> str:
        return act(context, fails)

    @open.rollback
    def shut(self, context: Context, result: Any) -> None:
        effect(context, "-open")
        if "shut" in context.inputs.get("fails", "").split():
            raise Refusal("shut")

    word = signal(when=lambda context: "word" in context.inputs.get("fails", "").split())

    @step
    def close(self, context: Context, fails: str = "") -> str:
        return act(context, fails)


@orchestrator("waits.sealed")
class Sealed(Orchestrator):
    """What is behind its pivot when it has ended."""

    @step(pivot=True)
    def seal(self, context: Context) -> str:
        return act(context)


@orchestrator("waits.envelope")
class Envelope(Orchestrator):
    """What cannot be taken back within it."""

    @step
    def write(self, context: Context) -> str:
        return act(context)

    @write.rollback
    def burn(self, context: Context, result: Any) -> None:
        effect(context, "-write")

    sealed = child(Sealed)

    @step
    def send(self, context: Context, fails: str = "") -> str:
        return act(context, fails)


@orchestrator("waits.outer")
class Outer(Orchestrator):
    """A step, a saga within it, a step."""

    @step
    def before(self, context: Context, fails: str = "") -> str:
        return act(context, fails)

    @before.rollback
    def undo_before(self, context: Context, result: Any) -> None:
        effect(context, "-before")

    inner = child(Inner)

    @step
    def after(self, context: Context, inner: Any, fails: str = "") -> Any:
        act(context, fails)
        return f"after {inner}"


@orchestrator("waits.odd")
class Odd(Orchestrator):
    """Its only step gives back what is no JSON."""

    @step
    def make(self, context: Context) -> Any:
        act(context)
        return {1, 2}


@orchestrator("waits.errand")
class Errand(Orchestrator):
    """One step is a job of its own."""

    @step
    def leave(self, context: Context) -> str:
        return act(context)

    @leave.rollback
    def come_back(self, context: Context, result: Any) -> None:
        effect(context, "-leave")

    @step(job=True, retry=RetryPolicy(max_retries=1, backoff=dt.timedelta(minutes=1), jitter=False))
    def buy(self, context: Context, fails: str = "") -> str:
        if context.attempt > 1:
            fails = fails.replace("once", "")
        return act(context, fails.replace("once", "buy"))

    @buy.rollback
    def return_it(self, context: Context, result: Any) -> None:
        effect(context, "-buy")

    @step
    def home(self, context: Context, buy: Any, fails: str = "") -> str:
        return act(context, fails)


SOON = RetryPolicy(max_retries=1, backoff=dt.timedelta(milliseconds=1), jitter=False)


@orchestrator("waits.dance")
class Dance(Orchestrator):
    """For many who steer it at the same time: in place, a group, a wait, a job, a pivot, another job."""

    @step(retry=SOON, compensation_retry=SOON)
    def bow(self, context: Context) -> str:
        return act(context)

    @bow.rollback
    def straighten(self, context: Context, result: Any) -> None:
        effect(context, "-bow")

    @step(group="pair", retry=SOON, compensation_retry=SOON)
    def lead(self, context: Context) -> str:
        return act(context)

    @lead.rollback
    def unlead(self, context: Context, result: Any) -> None:
        effect(context, "-lead")

    @step(group="pair", retry=SOON, compensation_retry=SOON)
    def follow(self, context: Context) -> str:
        return act(context)

    @follow.rollback
    def unfollow(self, context: Context, result: Any) -> None:
        effect(context, "-follow")

    music = signal()

    @step(job=True, retry=SOON, compensation_retry=SOON)
    def turn(self, context: Context) -> str:
        return act(context)

    @turn.rollback
    def unturn(self, context: Context, result: Any) -> None:
        effect(context, "-turn")

    @step(pivot=True, retry=SOON)
    def leap(self, context: Context) -> str:
        return act(context)

    @step(job=True, retry=SOON)
    def land(self, context: Context) -> str:
        return act(context)
