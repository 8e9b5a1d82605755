"""Result backends that are not ours: asked when somebody waits for a result, never when a task is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def subscribe_late(backend: Any) -> None:
    """Let a task or a group be sent while the result server is away.

    Redis subscribes to a result when its task is sent (``on_task_call``) and once more for each member of a group
    (a weak waiter). Only a waiting ``get()`` has to; there the members are made known instead.
    """
    backend.on_task_call = _nothing
    consumer = getattr(backend, "result_consumer", None)
    if consumer is None:
        return
    add, look = backend._add_pending_result, consumer.on_wait_for_pending

    def add_pending(task_id: str, result: Any, weak: bool = False) -> None:
        if not weak:
            add(task_id, result)

    def on_wait(result: Any, **options: Any) -> Any:
        for one in _single(result):
            backend.add_pending_result(one)
        return look(result, **options)

    backend._add_pending_result, consumer.on_wait_for_pending = add_pending, on_wait


def _single(result: Any) -> Iterator[Any]:
    members = getattr(result, "results", None)
    if members is None:
        yield result
    for member in members or ():
        yield from _single(member)


def _nothing(producer: Any, task_id: str) -> None:
    return None
