"""What people do to schedules: define, pause, resume, look ahead. Never runs anything."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from django.db import models
from django.utils import timezone

from taskyard.enqueue.owner import tenant_of_caller
from taskyard.errors import InvalidName, InvalidSchedule, TaskyardError
from taskyard.jobs.rows.newjob import is_tenant_name
from taskyard.schedules.definitions import limits
from taskyard.schedules.definitions.changes import CHANGED, Change, aim, submit, write
from taskyard.schedules.definitions.definition import Definition, checked
from taskyard.schedules.models import USER, Schedule
from taskyard.schedules.recurrence import MOST, Due, Recurrence
from taskyard.tasks.task import Task
from taskyard.tenancy.directory import name_of

__all__ = [
    "CHANGED",
    "aim",
    "define",
    "pause",
    "preview",
    "remove",
    "resume",
    "set_enabled",
    "text_of",
    "write",
]

#: How far a preview looks for a day that no calendar excludes; both, for often and for seldom.
_MOST_LOOKED_AT, _FURTHEST = 100_000, dt.timedelta(days=30 * 365)


def define(
    *, name: str, recurrence: Recurrence, task: Task[Any, Any] | str, by: Any = "", now: dt.datetime | None = None,
    **said: Any,
) -> Schedule:  # fmt: skip
    """See :meth:`taskyard.schedules.models.ScheduleManager.define`."""
    now = now or timezone.now()
    owner, database = owner_of(said.pop("tenant", None)), said.pop("database", None)
    enabled, origin = said.pop("enabled", None), said.pop("origin", "api")
    refuse_odd_names(name, owner)
    said["subject"] = _key_of(name, said.pop("subject", None))
    wanted = checked(name, {**said, "task": task if isinstance(task, str) else task.name, "recurrence": recurrence})
    if owner and wanted.tenants is not None:
        raise InvalidSchedule(
            name, [f"it is of tenant {owner!r} and runs for that alone: leave tenants out."], fields=["tenants"]
        )
    columns = wanted.as_columns()
    change = Change(
        verb="define", tenant=owner, name=name, at=now, by=text_of(by),
        said={"definition": columns, "enabled": enabled, "origin": origin},
    )  # fmt: skip
    row = submit(change, database)
    if row is None:
        row = Schedule(name=name, tenant=owner, origin=origin, enabled=enabled is not False, **columns)
        row.version, row.created_at, row.updated_at, row.created_by = 0, now, now, change.by
        aim(row, wanted, now)
    return row


def owner_of(tenant: Any) -> str:
    """The name of the tenant that is meant: the current one unless another is given."""
    return tenant_of_caller() if tenant is None else name_of(tenant)


def _key_of(name: str, subject: models.Model | tuple[str, str] | None) -> tuple[str, str]:
    if subject is None:
        return "", ""
    if isinstance(subject, tuple):
        # As a row has it.
        return subject
    if subject.pk is None:
        raise InvalidSchedule(name, [f"subject={subject!r} is not saved yet: save it first, its key is kept."])
    return subject._meta.label_lower, str(subject.pk)


def preview(row: Schedule, count: int = 10, *, after: dt.datetime | None = None) -> list[Due]:
    """The next due times as the scheduler will decide them, without those its calendars exclude; at most 1,000."""
    definition = Definition.of(row)
    offset = definition.offset(row.tenant, row.name)
    since = row.decided_until if after is None else after - offset
    most = definition.bounds.max_runs
    wanted = count if most is None else min(count, max(0, most - row.runs))
    dues = definition.bounds.iter_from(definition.recurrence, since)
    if definition.bounds.calendars:
        # Where nearly every day is excluded there may be no end to the looking.
        dues = itertools.islice(dues, _MOST_LOOKED_AT)
        dues = itertools.takewhile(lambda due: due.at - since < _FURTHEST, dues)
    running = (due._replace(at=due.at + offset) for due in dues if not definition.bounds.excluded(due))
    return list(itertools.islice(running, min(wanted, MOST)))


def pause(row: Schedule, *, until: dt.datetime | None = None, reason: str = "", by: Any = "") -> None:
    """See :meth:`Schedule.pause`."""
    now = timezone.now()
    if until is not None and (until.tzinfo is None or until <= now):
        raise TaskyardError(f"until={until!r} must be a time to come, with a time zone.")
    said = {"until": until and until.isoformat(), "reason": reason[:500]}
    _do("pause", row, now, by=by, said=said)


def resume(row: Schedule, *, by: Any = "") -> None:
    """See :meth:`Schedule.resume`."""
    _do("resume", row, timezone.now(), by=by)


def set_enabled(row: Schedule, is_enabled: bool) -> None:
    """See :meth:`Schedule.enable` and :meth:`Schedule.disable`."""
    if is_enabled and row.origin == USER:
        # Asked again when it is done: by way of an outbox that is later.
        limits.refuse(row.name, row.tenant, wanted=Definition.of(row))
    _do("enable" if is_enabled else "disable", row, timezone.now())


def remove(name: str, *, tenant: Any = None) -> None:
    """See :meth:`taskyard.schedules.models.ScheduleManager.remove`."""
    submit(Change(verb="remove", tenant=owner_of(tenant), name=name, at=timezone.now()))


#: What the verbs change.
_CHANGED = (
    "enabled", "paused_at", "paused_until", "paused_by", "pause_reason", "error", "slot", "next_at", "decided_until",
    "updated_at",
)  # fmt: skip


def _do(verb: str, row: Schedule, now: dt.datetime, **more: Any) -> None:
    by = text_of(more.pop("by", ""))
    fresh = submit(Change(verb=verb, tenant=row.tenant, name=row.name, at=now, by=by, **more))
    for name in _CHANGED if fresh is not None else ():
        setattr(row, name, getattr(fresh, name))


def refuse_odd_names(name: str, tenant: str) -> None:
    """Names that are no names; raises :class:`~taskyard.errors.InvalidSchedule`."""
    if not name or len(name) > 200 or not name.isprintable() or name.startswith("-"):
        problem = "its name must be 1 to 200 printable characters, the first of them no dash."
        raise InvalidSchedule(name, [problem], fields=["name"])
    if not is_tenant_name(tenant):
        raise InvalidName("tenant", tenant, 63)


def text_of(by: Any) -> str:
    """Who did it, as columns keep it: a user's primary key, or a text."""
    return str(by.pk if isinstance(by, models.Model) else by)[:150]
