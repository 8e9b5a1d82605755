"""What people do to schedules: define, pause, resume, look ahead. Never runs anything."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from django.db import models, transaction
from django.utils import timezone

from taskyard.enqueue import control_alias
from taskyard.enqueue.owner import tenant_of_caller
from taskyard.errors import InvalidName, InvalidSchedule, TaskyardError
from taskyard.jobs.rows.newjob import is_tenant_name
from taskyard.runtime.wakeup import wake
from taskyard.schedules.definition import Definition, checked
from taskyard.schedules.models import Schedule, ScheduleVersion
from taskyard.schedules.recurrence import MOST, Due, Recurrence
from taskyard.tasks.task import Task
from taskyard.tenancy.directory import name_of

#: Wakes schedulers after a change.
CHANGED = "taskyard_schedules"
#: How far a preview looks for a day that no calendar excludes; both, for often and for seldom.
_MOST_LOOKED_AT, _FURTHEST = 100_000, dt.timedelta(days=30 * 365)


def define(
    *, name: str, recurrence: Recurrence, task: Task[Any, Any] | str, by: Any = "", now: dt.datetime | None = None,
    **said: Any,
) -> Schedule:  # fmt: skip
    """See :meth:`taskyard.schedules.models.ScheduleManager.define`."""
    now = now or timezone.now()
    tenant, subject = said.pop("tenant", None), said.pop("subject", None)
    enabled, origin = said.pop("enabled", None), said.pop("origin", "api")
    owner = tenant_of_caller() if tenant is None else name_of(tenant)
    refuse_odd_names(name, owner)
    said["subject"] = subject if isinstance(subject, tuple) else _label_and_key(subject)
    wanted = checked(name, {**said, "task": task if isinstance(task, str) else task.name, "recurrence": recurrence})
    with transaction.atomic(using=control_alias()):
        row: Schedule | None = Schedule.objects.select_for_update().filter(tenant=owner, name=name).first()
        if row is None:
            row = Schedule(
                name=name, tenant=owner, origin=origin, created_at=now, version=0, created_by=_text(by),
                enabled=True if enabled is None else enabled,
            )  # fmt: skip
        elif _says(row, wanted) and enabled in (None, row.enabled):
            return row
        else:
            row.origin = origin
            row.enabled = row.enabled if enabled is None else enabled
        write(row, wanted, now, by=by)
    return row


def write(row: Schedule, wanted: Definition, now: dt.datetime, *, by: Any = "") -> None:
    """Write a definition into its row, as a new version, in the caller's transaction."""
    for column, value in wanted.as_columns().items():
        setattr(row, column, value)
    row.version += 1
    row.error, row.updated_at = "", now
    aim(row, wanted, now)
    row.save(using=control_alias())
    ScheduleVersion.objects.using(control_alias()).create(
        schedule=row, version=row.version, since=now, actor=_text(by), definition=wanted.as_columns()
    )
    transaction.on_commit(lambda: wake(CHANGED), using=control_alias())


def aim(row: Schedule, definition: Definition, now: dt.datetime) -> None:
    """Let the next due time be the first after ``now``: nothing that was due before is run."""
    offset = definition.offset(row.tenant, row.name)
    # With jitter, what was due a moment ago may still lie ahead.
    row.decided_until = max(now - offset, row.decided_until) if row.decided_until and row.pk else now - offset
    due = definition.next_due(row.decided_until) if row.enabled and not _is_over(row, definition) else None
    row.next_at = None if due is None else due.at + offset


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
    _change(row, paused_at=now, paused_until=until, paused_by=_text(by), pause_reason=reason)


def resume(row: Schedule, *, by: Any = "") -> None:
    """See :meth:`Schedule.resume`."""
    _change(row, paused_at=None, paused_until=None, paused_by=_text(by), pause_reason="")
    if row.error:
        _aim_anew(row, error="")


def set_enabled(row: Schedule, is_enabled: bool) -> None:
    """See :meth:`Schedule.enable` and :meth:`Schedule.disable`."""
    _aim_anew(row, enabled=is_enabled)


def _aim_anew(row: Schedule, **values: Any) -> None:
    with transaction.atomic(using=control_alias()):
        fresh = Schedule.objects.select_for_update().get(pk=row.pk)
        for name, value in values.items():
            setattr(fresh, name, value)
        fresh.updated_at = timezone.now()
        aim(fresh, Definition.of(fresh), fresh.updated_at)
        fresh.save(using=control_alias())
    for name in (*values, "next_at", "decided_until", "updated_at"):
        setattr(row, name, getattr(fresh, name))
    transaction.on_commit(lambda: wake(CHANGED), using=control_alias())


def _change(row: Schedule, **values: Any) -> None:
    values["updated_at"] = timezone.now()
    Schedule.objects.filter(pk=row.pk).update(**values)
    for name, value in values.items():
        setattr(row, name, value)


def _says(row: Schedule, wanted: Definition) -> bool:
    columns = wanted.as_columns()
    return not row.error and {name: getattr(row, name) for name in columns} == columns


def _is_over(row: Schedule, definition: Definition) -> bool:
    return definition.bounds.is_spent(row.runs)


def _label_and_key(subject: Any) -> tuple[str, str]:
    return ("", "") if subject is None else (subject._meta.label_lower, str(subject.pk))


def refuse_odd_names(name: str, tenant: str) -> None:
    """Raise :class:`InvalidSchedule` or :class:`InvalidName` for what no row can be called."""
    if not name or len(name) > 200 or not name.isprintable():
        raise InvalidSchedule(name, ["its name must be 1 to 200 printable characters."], fields=["name"])
    if not is_tenant_name(tenant):
        raise InvalidName("tenant", tenant, 63)


def _text(by: Any) -> str:
    return str(by.pk if isinstance(by, models.Model) else by)[:150]
