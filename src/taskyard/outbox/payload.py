"""A new job as the text of a message, and back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import uuid
from typing import Any

from taskyard.errors import TaskyardError
from taskyard.jobs.rows.newjob import NewJob

_TIMES = frozenset({"created_at", "available_at", "expires_at", "finished_at"})
_UUIDS = frozenset({"id", "parent", "root", "batch"})
_USUAL = {field.name: field.default for field in dataclasses.fields(NewJob)}


class UnreadableMessage(TaskyardError):
    """An outbox message that this version can make nothing of."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The message cannot be read: {reason}. It stays in its outbox.")


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """Something else than a job that was said in another database's transaction."""

    #: The door it is handed in at.
    kind: str
    data: dict[str, Any]


def notice_text(notice: Notice) -> str:
    """The text of a notice."""
    return json.dumps({"notice": notice.kind, "data": notice.data}, separators=(",", ":"))


def payload_text(job: NewJob) -> str:
    """The text of a job: its columns, but for those that are as in most jobs."""
    given = {name: getattr(job, name) for name in _USUAL}
    columns = {name: _plain(value) for name, value in given.items() if value != _USUAL[name]}
    return json.dumps(columns, separators=(",", ":"))


def read_payload(text: str) -> NewJob | Notice:
    """The job of a text, or the notice; raises :class:`UnreadableMessage`."""
    try:
        given = json.loads(text)
        if "notice" in given:
            return Notice(given["notice"], dict(given["data"]))
        return NewJob(**{name: _typed(name, value) for name, value in given.items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableMessage(f"{type(error).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


def _typed(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TIMES:
        return dt.datetime.fromisoformat(value)
    return uuid.UUID(value) if name in _UUIDS else value
