"""The table as the checker wants to see it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from taskyard.jobs.models import Attempt, Job
from taskyard.settings import get_settings
from taskyard.testing.checker import Row


def read_table() -> Iterator[Row]:
    """Every job in the control database, as the checker wants it."""
    alias = get_settings().database
    recorded: dict[Any, list[int]] = defaultdict(list)
    for job_id, number in Attempt.objects.using(alias).order_by().values_list("job_id", "number").iterator():
        recorded[job_id].append(number)
    columns = ("id", "task", "state", "attempt", "claim", "error", "parent", "root")
    for found in Job.objects.using(alias).order_by().values_list(*columns).iterator():
        job_id, task, state, attempt, token, error, parent, root = found
        yield Row(
            id=str(job_id), task=task, state=state, attempt=attempt, token=token,
            reason=(error or {}).get("reason", ""), parent=str(parent or ""), root=str(root or ""),
            recorded=tuple(sorted(recorded.get(job_id, ()))),
        )  # fmt: skip
