"""What somebody wants of a schedule, as a value: done at once, or carried here by the outbox of another database.

A change that is made in the transaction of a tenant's own database exists exactly if that commits: it is a message in
that database's outbox, and the relay brings it here. All other changes are made in the caller's transaction.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.db import IntegrityError, transaction

from taskyard.enqueue import alias_of_call, control_alias, put_notice
from taskyard.errors import InvalidSchedule, UnknownSchedule
from taskyard.outbox.payload import Notice
from taskyard.runtime.wakeup import wake
from taskyard.schedules.definitions import limits
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.models import USER, Schedule, ScheduleVersion

logger = logging.getLogger(__name__)

#: Wakes schedulers after a change.
CHANGED = "taskyard_schedules"
#: The kind of its messages, and the door they are handed in at.
KIND = "schedule"
#: Why users may not have a name.
TAKEN = "somebody else made the schedule of that name; choose another."
#: How often a name or a place may be snatched away by a transaction that has just committed.
_ATTEMPTS = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One verb about the schedule of that tenant and name."""

    #: A key of ``_VERBS``.
    verb: str
    tenant: str
    name: str
    #: When it was said: what is due from then on is decided, however long the way here takes.
    at: dt.datetime
    by: str = ""
    #: What else there is to say; JSON.
    said: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a message carries it."""
        return {**dataclasses.asdict(self), "at": self.at.isoformat(), "said": dict(self.said)}


def submit(change: Change, database: str | None = None) -> Schedule | None:
    """Make a change in the caller's transaction; the row as it is then.

    None: it was removed, or it is on its way from the outbox of ``database`` (default: that of the current tenant, if
    it has one), and gone if that transaction is. Raises :class:`~taskyard.errors.InvalidSchedule` and
    :class:`~taskyard.errors.UnknownSchedule`.
    """
    alias = alias_of_call(database)
    if alias == control_alias():
        return apply(change)
    if put_notice(Notice(KIND, change.to_json()), alias):
        found: Schedule | None = _found(change).first()
        return found
    return None


def take(notice: Notice) -> None:
    """Make a change that came from an outbox, in the relay's transaction.

    Whoever asked has long gone: a new schedule that the limits of users do not allow becomes a row that is disabled
    and says why, and anything else that cannot be done is logged.
    """
    change = Change(**{**notice.data, "at": dt.datetime.fromisoformat(notice.data["at"])})
    try:
        apply(change)
    except (InvalidSchedule, UnknownSchedule) as error:
        logger.warning("%s of schedule %r of tenant %r: %s", change.verb, change.name, change.tenant, error)
        if change.verb == "define" and not _found(change).exists():
            _refuse(change, str(error))


def apply(change: Change) -> Schedule | None:
    """Make a change in the caller's transaction on the control database."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return _apply(change)
        except IntegrityError:
            # Somebody has just taken the name or the place: now that is seen.
            continue
    return _apply(change)


def _apply(change: Change) -> Schedule | None:
    with transaction.atomic(using=control_alias()):
        row = _found(change).select_for_update().first()
        if change.verb == "define":
            return _define(row, change)
        if row is None:
            raise UnknownSchedule(change.name, change.tenant)
        return _VERBS[change.verb](row, change)


def _found(change: Change) -> Any:
    return Schedule.objects.filter(tenant=change.tenant, name=change.name)


def _define(row: Schedule | None, change: Change) -> Schedule:
    wanted, enabled, origin = _definition(change), change.said["enabled"], change.said["origin"]
    if row is None:
        row = _new_row(change, enabled=enabled is not False)
    elif origin == USER and row.origin != USER:
        raise InvalidSchedule(change.name, [TAKEN])
    elif _says(row, wanted) and enabled in (None, row.enabled):
        return row
    else:
        row.origin = origin
        row.enabled = row.enabled if enabled is None else enabled
    if origin == USER:
        limits.admit(row, wanted)
    else:
        row.slot = None
    write(row, wanted, change.at, by=change.by)
    return row


def _definition(change: Change) -> Definition:
    return Definition.of(Schedule(name=change.name, **change.said["definition"]))


def _new_row(change: Change, *, enabled: bool) -> Schedule:
    return Schedule(
        name=change.name, tenant=change.tenant, origin=change.said["origin"], created_at=change.at, version=0,
        created_by=change.by, enabled=enabled,
    )  # fmt: skip


def _refuse(change: Change, reason: str) -> None:
    row = _new_row(change, enabled=False)
    write(row, _definition(change), change.at, by=change.by)
    Schedule.objects.filter(pk=row.pk).update(error=reason)


def _says(row: Schedule, wanted: Definition) -> bool:
    columns = wanted.as_columns()
    return not row.error and {name: getattr(row, name) for name in columns} == columns


def _enable(row: Schedule, change: Change) -> Schedule:
    if row.origin == USER:
        limits.admit(row, Definition.of(row))
    row.error = ""
    return _aim_anew(row, change, enabled=True)


def _disable(row: Schedule, change: Change) -> Schedule:
    # Also one that nobody can make anything of: its definition is not looked at.
    row.enabled, row.next_at, row.updated_at = False, None, change.at
    row.save(using=control_alias())
    return row


def _pause(row: Schedule, change: Change) -> Schedule:
    until, reason = change.said["until"], change.said["reason"]
    row.paused_at, row.paused_until = change.at, None if until is None else dt.datetime.fromisoformat(until)
    row.paused_by, row.pause_reason, row.updated_at = change.by, reason, change.at
    row.save(using=control_alias())
    return row


def _resume(row: Schedule, change: Change) -> Schedule:
    row.paused_at, row.paused_until, row.paused_by, row.pause_reason = None, None, change.by, ""
    row.updated_at = change.at
    if row.error:
        row.error = ""
        return _aim_anew(row, change, enabled=row.enabled)
    row.save(using=control_alias())
    return row


def _remove(row: Schedule, change: Change) -> None:
    row.delete(using=control_alias())


def _aim_anew(row: Schedule, change: Change, *, enabled: bool) -> Schedule:
    row.enabled, row.updated_at = enabled, change.at
    aim(row, Definition.of(row), change.at)
    row.save(using=control_alias())
    transaction.on_commit(_wake, using=control_alias())
    return row


_VERBS: Mapping[str, Callable[[Schedule, Change], Schedule | None]] = {
    "enable": _enable, "disable": _disable, "pause": _pause, "resume": _resume, "remove": _remove,
}  # fmt: skip


def write(row: Schedule, wanted: Definition, now: dt.datetime, *, by: str = "") -> None:
    """Write a definition into its row, as a new version, in the caller's transaction."""
    for column, value in wanted.as_columns().items():
        setattr(row, column, value)
    row.version += 1
    row.error, row.updated_at = "", now
    aim(row, wanted, now)
    row.save(using=control_alias())
    ScheduleVersion.objects.using(control_alias()).create(
        schedule=row, version=row.version, since=now, actor=by, definition=wanted.as_columns()
    )
    transaction.on_commit(_wake, using=control_alias())


def aim(row: Schedule, definition: Definition, now: dt.datetime) -> None:
    """Let the next due time be the first after ``now``: nothing that was due before is run."""
    offset = definition.offset(row.tenant, row.name)
    # With jitter, what was due a moment ago may still lie ahead.
    row.decided_until = max(now - offset, row.decided_until) if row.decided_until and row.pk else now - offset
    is_to_come = row.enabled and not row.is_triggered and not definition.bounds.is_spent(row.runs)
    due = definition.next_due(row.decided_until) if is_to_come else None
    row.next_at = None if due is None else due.at + offset


def _wake() -> None:
    wake(CHANGED)
