"""What answers look like, and how rows become them. Nothing here decides what somebody may see: operations did."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from taskyard.api.shapes import Anything, Flag, ListOf, MapOf, Moment, Number, Object, OneOf, OrNull, Shape, Text, Whole
from taskyard.integrations.problems.problem import problem_of_job
from taskyard.jobs.detail import JobDetail
from taskyard.jobs.models import Job
from taskyard.jobs.queries import JobSummary
from taskyard.jobs.states import State

STATES = tuple(state.value for state in State)
ID = Text(format="uuid")
_TEXT, _WHOLE, _NUMBER, _MOMENT = Text(), Whole(), Number(), Moment()


def as_json(document: Any) -> str:
    """As it is sent. What JSON has no number for is null."""
    try:
        return json.dumps(document, default=_plain, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(json.loads(json.dumps(document, default=_plain))), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return fields_of(value)
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, enum.Enum)):
        return str(value)
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fields_of(value: Any, *names: str) -> dict[str, Any]:
    """Attributes by name; of a dataclass all of its fields, unless some are named."""
    chosen = names or tuple(field.name for field in dataclasses.fields(value))
    return {name: getattr(value, name) for name in chosen}


def page_shape(each: Shape, name: str) -> Object:
    """A page of a list."""
    says = "The cursor of the next page; null: this is the last one. A page may hold fewer than asked for, even none."
    return Object({"items": ListOf(each), "next": OrNull(Text(says=says))}, name=name)


# -- problems ----------------------------------------------------------------------------------------------------------

PROBLEM = Object(
    {
        "type": Text(says="A URN that is never renamed."), "title": _TEXT, "status": _WHOLE, "detail": _TEXT,
        "instance": _TEXT, "job": ID, "saga": ID, "saga_state": _TEXT,
        "errors": ListOf(Object({"field": _TEXT, "problem": _TEXT})),
    },
    frozenset({"instance", "job", "saga", "saga_state", "errors"}), name="Problem",
)  # fmt: skip

# -- jobs --------------------------------------------------------------------------------------------------------------

ERROR = Object({"type": _TEXT, "message": _TEXT, "reason": _TEXT}, name="Error")
SUMMARY = Object(
    {
        "id": ID, "task": _TEXT, "state": OneOf(STATES), "queue": _TEXT, "tenant": _TEXT, "priority": _WHOLE,
        "attempt": _WHOLE, "max_attempts": _WHOLE, "created_at": _MOMENT, "available_at": _MOMENT,
        "started_at": OrNull(_MOMENT), "finished_at": OrNull(_MOMENT), "cancel_requested_at": OrNull(_MOMENT),
        "progress_current": OrNull(_NUMBER), "progress_total": OrNull(_NUMBER), "progress_message": _TEXT,
        "error": OrNull(ERROR),
    },
    name="JobSummary",
)  # fmt: skip
JOBS = page_shape(SUMMARY, "Jobs")
_ATTEMPT = Object(
    {
        "number": _WHOLE, "error_type": _TEXT, "error_message": _TEXT, "traceback": _TEXT, "worker": OrNull(ID),
        "started_at": OrNull(_MOMENT), "ended_at": _MOMENT,
    },
    name="Attempt",
)  # fmt: skip
#: Columns of a job that are answered beside those of a summary.
_MORE = {
    "task_id": Text(says="The caller's own id (Celery), where it is none of ours."), "args": OrNull(Anything(list)),
    "kwargs": OrNull(Anything(dict)), "expires_at": OrNull(_MOMENT), "published_at": OrNull(_MOMENT),
    "worker": OrNull(ID), "soft_time_limit": OrNull(_NUMBER), "time_limit": OrNull(_NUMBER), "result": Anything(),
    "custom_state": _TEXT, "unique_key": OrNull(_TEXT), "subject_type": _TEXT, "subject_id": _TEXT,
    "created_by": _TEXT, "parent": OrNull(ID), "root": OrNull(ID), "occurrence": OrNull(_WHOLE), "batch": OrNull(ID),
    "progress_at": OrNull(_MOMENT), "counts": Anything(), "checkpoint": Anything(), "tags": Anything(), "trace": _TEXT,
}  # fmt: skip
JOB = Object(
    {
        **SUMMARY.fields, **_MORE,
        "worker_name": _TEXT, "waits_because": _TEXT, "attempts": ListOf(_ATTEMPT), "children": MapOf(_WHOLE),
        "payload_hidden": Flag(says="Arguments, result and the words of errors are left out."),
        "problem": OrNull(PROBLEM),
    },
    name="Job",
)  # fmt: skip
_COLUMNS = (*SUMMARY.fields, *_MORE)
OUTCOME = Object(
    {
        "found": Whole(says="Those that exist for the caller."),
        "changed": Whole(says="Those that were changed; the others were not in a state for it."),
    },
    name="Outcome",
)  # fmt: skip
ENQUEUED = Object(
    {
        "id": ID, "task": _TEXT, "state": OneOf(STATES), "tenant": _TEXT, "queue": _TEXT,
        "created": Flag(says="False: a job that holds the unique key was there, and is the one answered."),
    },
    name="EnqueuedJob",
)  # fmt: skip
DONE = Object({"changed": Whole(says="How many were changed; 0: they were so already.")}, name="Done")
STARTED = Object({"job": Text(format="uuid", says="The job that does it; cancel it to abort.")}, name="StartedJob")


def summary(job: JobSummary) -> dict[str, Any]:
    """A line of a list of jobs."""
    return {**fields_of(job, *SUMMARY.fields), "error": _error(job.error)}


def job_document(detail: JobDetail, *, is_blind: bool) -> dict[str, Any]:
    """Everything about one job, but what only agents need to know."""
    fields = {name: detail.fields[name] for name in _COLUMNS}
    problem = problem_of_job(detail.fields["task"], detail.fields["error"]) if fields["state"] == "failed" else None
    return {
        **fields, "error": _error(fields["error"]), "worker_name": detail.worker_name,
        "waits_because": detail.waits_because, "attempts": [fields_of(each) for each in detail.attempts],
        "children": detail.children, "payload_hidden": is_blind, "problem": problem and problem.document(),
    }  # fmt: skip


def enqueued(job: Job) -> dict[str, Any]:
    """A job that was just written, or found in its place."""
    return fields_of(job, *ENQUEUED.fields)


def _error(error: Mapping[str, Any] | None) -> dict[str, str] | None:
    return {name: str(error.get(name) or "") for name in ERROR.fields} if error else None


def page(items: Sequence[Any], after: str | None) -> dict[str, Any]:
    """A page of a list."""
    return {"items": list(items), "next": after}
