"""Orchestrators of the tests: what each step did is written into a file, outside of all transactions."""

import json
import os
from pathlib import Path
from typing import Any

from taskyard.sagas import Context, Orchestrator, orchestrator, step


def effect(context: Context, what: str) -> None:
    """A line of the ledger, whole or not at all."""
    ledger = os.environ.get("TASKYARD_TEST_LEDGER")
    if ledger:
        line = json.dumps({"saga": str(context.saga_id), "what": what, "key": context.idempotency_key}) + "\n"
        with Path(ledger).open("a", encoding="utf-8") as file:
            file.write(line)


class Declined(Exception):
    """A business error."""


@orchestrator("trip", errors={Declined: 402})
class Trip(Orchestrator):
    """Three steps in place, each with its compensation."""

    @step
    def flight(self, context: Context, city: str) -> dict[str, Any]:
        effect(context, "flight")
        return {"flight": f"to {city}", "seats": (1, 2)}

    @flight.rollback
    def cancel_flight(self, context: Context, result: Any) -> None:
        effect(context, "-flight")

    @step
    def hotel(self, context: Context, city: str, flight: Any) -> str:
        effect(context, "hotel")
        return f"{city} after {flight['flight']}, seats {flight['seats']}"

    @hotel.rollback
    def cancel_hotel(self, context: Context, result: Any) -> None:
        effect(context, "-hotel")

    @step
    def pay(self, context: Context, fails: str = "") -> str:
        effect(context, "pay")
        if fails:
            raise Declined(fails)
        return "paid"


@orchestrator("echo")
class Echo(Orchestrator):
    """Returns what it is given."""

    @step
    def say(self, context: Context, value: Any) -> Any:
        return value
