"""Orchestrators that operators steer in tests: what fails is told by name from outside."""

import datetime as dt
from typing import Any

from taskyard.sagas import Context, Orchestrator, child, orchestrator, signal, step, timer
from taskyard.tasks.retry import RetryPolicy

#: Steps, and compensations (``-charge``), that raise.
FAILS: set[str] = set()
#: What was done, in order.
DONE: list[str] = []
#: Idempotency keys, in the same order.
KEYS: list[str] = []


class CardNetworkDown(Exception):
    """The other side is away."""


def do(context: Context, what: str) -> None:
    if what in FAILS:
        raise CardNetworkDown(f"no route to {context.inputs.get('card')} for {context.inputs.get('item')}")
    DONE.append(what)
    KEYS.append(context.idempotency_key)


@orchestrator("insurance")
class Insurance(Orchestrator):
    """Within an order."""

    @step
    def insure(self, context: Context) -> str:
        do(context, "insure")
        return "policy 9"

    @insure.rollback
    def end_insurance(self, context: Context, result: Any) -> None:
        do(context, "-insure")


@orchestrator("order", sensitive=("card",))
class Order(Orchestrator):
    """One step of each kind."""

    @step
    def reserve(self, context: Context, item: str) -> dict[str, str]:
        do(context, "reserve")
        return {"reserved": item}

    @reserve.rollback
    def release(self, context: Context, result: Any) -> None:
        do(context, "-reserve")

    approved = signal(timeout=dt.timedelta(hours=2), when=lambda context: context.inputs.get("wants", True))

    @step(retry=RetryPolicy(max_retries=2, backoff=dt.timedelta(hours=1)))
    def charge(self, context: Context, card: str, reserve: Any) -> dict[str, str]:
        do(context, "charge")
        return {"paid_with": card}

    @charge.rollback
    def refund(self, context: Context, result: Any) -> None:
        do(context, "-charge")

    insured = child(Insurance)

    @step(queue="slow")
    def pack(self, context: Context, wants: bool = True) -> str:
        do(context, "pack")
        return "packed"

    @pack.rollback
    def unpack(self, context: Context, result: Any) -> None:
        do(context, "-pack")

    @step(pivot=True)
    def ship(self, context: Context) -> str:
        do(context, "ship")
        return "shipped"

    calm = timer(dt.timedelta(days=1))

    @step
    def thank(self, context: Context) -> str:
        do(context, "thank")
        return "thanked"


@orchestrator("consignment")
class Parcel(Orchestrator):
    """One step that is a job of its own."""

    @step(queue="slow")
    def weigh(self, context: Context) -> int:
        do(context, "weigh")
        return 3


@orchestrator("halves")
class Halves(Orchestrator):
    """A group without compensations, and what comes after it."""

    @step
    def cut(self, context: Context) -> None:
        do(context, "cut")

    @step(group="halves")
    def left(self, context: Context) -> None:
        do(context, "left")

    @step(group="halves")
    def right(self, context: Context) -> None:
        do(context, "right")

    @step
    def count(self, context: Context) -> None:
        do(context, "count")
