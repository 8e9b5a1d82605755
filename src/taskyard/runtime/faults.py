"""Named places where a test may make a process die or an error strike; one empty-dict look-up in production."""

from __future__ import annotations

from collections.abc import Callable

#: Every fault point, and where it stands.
POINTS = {
    "outbox.committed": "a transaction with outbox messages has committed, its process has relayed none of them yet",
    "relay.written": "messages are jobs in the control database, committed, and still stand in their outbox",
    "feeder.marked": "rows are queued and committed, their messages not published yet",
    "feeder.published": "messages are published",
    "job.claimed": "the claim has committed, the body has not begun",
    "body.ended": "the body returned or raised, nothing of its end is decided yet",
    "settle.begin": "the outcome is decided, its transaction has not begun",
    "settle.moved": "inside the transaction: the state is written, what follows is not",
    "settle.written": "inside the transaction: everything is written, nothing committed",
    "settle.done": "the end has committed, the message is not acknowledged",
    "tally.taken": "inside a teller's transaction: news of a batch are taken out of the table, nothing is added up",
    "tally.written": "inside a teller's transaction: counts and callbacks are written, nothing committed",
    "tally.done": "counts and callbacks have committed",
    "saga.step": "that a step, or its compensation, began has committed; its function is not called yet",
    "saga.stepped": "its function returned, nothing of that is written",
    "saga.decided": "a coordinator has read the saga and decided what follows; nothing of it is written",
    "saga.written": "inside a transition's transaction: saga and steps are written, what follows is not",
    "saga.told": "a transition has committed, its coordinator has not gone on",
    "saga.ended": "a saga within another has ended, committed; that other is not told",
    "saga.recalled": "it is committed that a saga within has to come back; it is not told",
    "saga.kept": "inside a keeper's transaction: what follows from its look is written, nothing committed",
}

_armed: dict[str, Callable[[], None]] = {}


def fault_point(name: str) -> None:
    """Where it stands, the action armed for ``name`` strikes."""
    if _armed:
        action = _armed.get(name)
        if action is not None:
            action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Let ``action`` strike at a point from now on; raises ``KeyError`` for a point that does not exist."""
    if name not in POINTS:
        raise KeyError(name)
    _armed[name] = action


def disarm() -> None:
    """Nothing strikes any more."""
    _armed.clear()
