"""Orchestrators that pages are looked at with."""

import datetime as dt
from typing import Any

from taskyard.sagas import Context, Orchestrator, orchestrator, signal, step


@orchestrator("onboarding", sensitive=("card",))
class Onboarding(Orchestrator):
    """A step of each look: a group, a wait, a pivot, and what comes behind it."""

    @step
    def customer(self, context: Context, name: str) -> Any:
        return {"customer": name}

    @customer.rollback
    def forget(self, context: Context, result: Any) -> None: ...

    @step(group="places")
    def database(self, context: Context) -> Any: ...

    @database.rollback
    def drop_database(self, context: Context, result: Any) -> None: ...

    @step(group="places")
    def file_store(self, context: Context) -> Any: ...

    @file_store.rollback
    def empty_store(self, context: Context, result: Any) -> None: ...

    @step
    def charge(self, context: Context, card: str = "") -> Any: ...

    @charge.rollback
    def refund(self, context: Context, result: Any) -> None: ...

    approved = signal(timeout=dt.timedelta(hours=2))

    @step(pivot=True)
    def activate(self, context: Context) -> Any: ...

    @step
    def welcome(self, context: Context) -> Any: ...
