"""What is shown to whoever may not see the payload of jobs: everything but what the project's code put into them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from taskyard.batches.queries import Reading
from taskyard.failures.queries import GroupOverview
from taskyard.jobs.detail import JobDetail
from taskyard.jobs.queries import JobSummary
from taskyard.sagas.reading.queries import SagaReading, SagaSummary

#: Columns of a job that hold arguments, results or words of the project's own, also within keys and continuations.
HIDDEN = ("args", "kwargs", "message", "result", "checkpoint", "unique_key")
#: A reason of ours is a word; a task may give one in its own words.
_CODE = re.compile(r"[a-z]+(-[a-z]+)*")


def blind_error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A stored error without its words: its class, and our code for the reason."""
    if not error:
        return None
    reason = str(error.get("reason") or "")
    return {
        "type": str(error.get("type") or ""), "message": "", "reason": reason if _CODE.fullmatch(reason) else "",
    }  # fmt: skip


def blind_summary(job: JobSummary) -> JobSummary:
    """A line of a list without payload."""
    return dataclasses.replace(job, error=blind_error(job.error))


def blind_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a job without payload: those of :data:`HIDDEN` are None, and errors of items are only counted."""
    counts = fields["counts"]
    return {
        **fields, **dict.fromkeys(HIDDEN), "error": blind_error(fields["error"]),
        "counts": counts and {name: value for name, value in counts.items() if name != "errors"},
    }  # fmt: skip


def blind_detail(detail: JobDetail) -> JobDetail:
    """Everything about a job without payload."""
    words = str((detail.fields["error"] or {}).get("message") or "")
    waits = detail.waits_because.replace(words, "…") if words else detail.waits_because
    attempts = tuple(dataclasses.replace(each, error_message="", traceback="") for each in detail.attempts)
    return dataclasses.replace(
        detail, fields=blind_fields(detail.fields), attempts=attempts, waits_because=waits
    )  # fmt: skip


def blind_group(group: GroupOverview) -> GroupOverview:
    """A group of failures without payload: its pattern is made of the words of errors."""
    reason = group.reason if _CODE.fullmatch(group.reason) else ""
    return dataclasses.replace(group, message="", reason=reason)


def blind_reading(reading: Reading) -> Reading:
    """How far a batch or a job is, without payload: members that failed are named, items are only counted."""
    errors = tuple(dataclasses.replace(each, error="") for each in reading.errors if each.job is not None)
    return dataclasses.replace(reading, errors=errors)


def blind_saga_summary(saga: SagaSummary) -> SagaSummary:
    """A line of a list of sagas without payload."""
    return dataclasses.replace(saga, error=blind_error(saga.error), stuck=blind_error(saga.stuck))


def blind_saga(saga: SagaReading) -> SagaReading:
    """Everything about a saga without payload: inputs, results, what signals brought, and the words of errors."""
    words = str((saga.stuck or {}).get("message") or "")
    steps = tuple(dataclasses.replace(each, result=None, error=blind_error(each.error)) for each in saga.steps)
    signals = tuple(dataclasses.replace(each, payload=None, key=each.key and "…") for each in saga.signals)
    return dataclasses.replace(
        saga, inputs=None, result=None, steps=steps, signals=signals, error=blind_error(saga.error),
        stuck=blind_error(saga.stuck), waits_for=saga.waits_for.replace(words, "…") if words else saga.waits_for,
    )  # fmt: skip
