"""What happens when a clock elsewhere calls for a schedule of the code: its due times are decided, here, by its rules.

A schedule that the built-in scheduler does not run has a row all the same, of origin ``trigger``: its decisions
and its pauses are there. It has no next due time, so no scheduler looks at it, and follows the code with each call.
"""

from __future__ import annotations

import dataclasses
import datetime as dt

from django.db import IntegrityError, transaction

from taskyard.enqueue import control_alias
from taskyard.errors import InvalidSchedule, TaskyardError, UndeclaredSchedule
from taskyard.schedules.decisions import ON_TIME
from taskyard.schedules.definitions.define import write
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.models import Occurrence, Schedule
from taskyard.schedules.scheduler import decide_row
from taskyard.schedules.sources.code import called, declared, origin
from taskyard.tasks import registry

#: Where the last due time is looked for, one after another; and most that lie in any of them.
_SPANS = tuple(dt.timedelta(minutes=m) for m in (1, 60, 1_440, 44_640, 527_040, 4_216_320))
_MOST = 1_000_000


def trigger(name: str, *, due: dt.datetime | None = None, now: dt.datetime) -> list[Occurrence]:
    """Decide about what is due of a schedule of the code, and enqueue its jobs, in one transaction; the decisions.

    Empty if all of it is decided already: a call may come twice, from several clocks, and beside the built-in
    scheduler. What is more than a minute late goes by the schedule's catch-up rule. ``due`` is the due time the clock
    calls for, if it says one: it counts as due although our own clock is not there yet, up to a minute. At the first
    call for a schedule only that due time runs, or else the last before ``now``, and nothing earlier.

    Raises :class:`~taskyard.errors.UndeclaredSchedule`, :class:`~taskyard.errors.UnknownTask` (both are worth the
    clock's retry: code is being rolled out) and :class:`~taskyard.errors.InvalidSchedule`, if somebody made a row of
    that name.
    """
    if due is not None and due - now > ON_TIME:
        raise TaskyardError(f"Schedule {name!r} is called for {due.isoformat()}, which is still to come.")
    at = max(now, due or now)
    row = anchor(name, at)
    with transaction.atomic(using=control_alias()):
        locked = Schedule.objects.select_for_update().get(pk=row.pk)
        if locked.error:
            raise InvalidSchedule(name, [f"it is parked: {locked.error} Mend it, then resume it."])
        since = locked.decided_until
        _decide_all(locked, at)
        decided = Occurrence.objects.using(control_alias()).filter(schedule=locked, due_at__gt=since, decided_at=at)
        return list(decided.order_by("due_at", "tenant"))


def _decide_all(row: Schedule, at: dt.datetime) -> None:
    """Turn by turn, as long as a turn gets any further."""
    bounds = Definition.of(row).bounds
    before = None
    while row.enabled and not bounds.is_spent(row.runs) and row.decided_until != before:
        before = row.decided_until
        decide_row(row, at)


def run_by_hand(name: str, *, by: str = "", now: dt.datetime) -> Occurrence:
    """Run a schedule of the code once, now, whether it has a row yet or not; see :meth:`Schedule.run_now`."""
    return anchor(name, now, since=now).run_now(by=by)


def anchor(name: str, now: dt.datetime, *, since: dt.datetime | None = None) -> Schedule:
    """The row of a schedule of the code, made or changed if it is not there or says otherwise.

    In a row that is made or changed, due times after ``since`` are to be decided; default: the last one up to now.
    """
    declaration = declared().get(name)
    if declaration is None:
        raise UndeclaredSchedule(name)
    registry.get(declaration.definition.task)
    wanted = _without_window(declaration.definition)
    try:
        with transaction.atomic(using=control_alias()):
            return _anchored(name, wanted, now, since)
    except IntegrityError:
        # Another call made it meanwhile.
        with transaction.atomic(using=control_alias()):
            return _anchored(name, wanted, now, since)


def _anchored(name: str, wanted: Definition, now: dt.datetime, since: dt.datetime | None) -> Schedule:
    # Locked only once it is there: on MySQL two calls that lock what is not there yet end in a deadlock.
    row: Schedule | None = Schedule.objects.filter(tenant="", name=name).first()
    if row is None:
        row = Schedule(name=name, origin=called(), created_at=now, created_by=called(), version=0)
        _follow(row, wanted, now, since)
    elif row.origin not in (called(), origin()):
        raise InvalidSchedule(name, [f"a row of that name is there already, of origin {row.origin!r}; rename one."])
    elif row.origin == called() and _differs(row, wanted):
        row = Schedule.objects.select_for_update().get(pk=row.pk)
        _follow(row, wanted, now, since)
    return row


def _follow(row: Schedule, wanted: Definition, now: dt.datetime, since: dt.datetime | None) -> None:
    """Say what the code says now. Its clock may have been told before this row: what it calls for is still decided."""
    known: dt.datetime | None = row.decided_until
    write(row, wanted, now, by=called())
    since = _before_last_due(wanted, now) if since is None else since
    row.decided_until = since if known is None else max(known, since)
    row.save(using=control_alias(), update_fields=["decided_until"])


def _differs(row: Schedule, wanted: Definition) -> bool:
    return any(getattr(row, column) != value for column, value in wanted.as_columns().items())


def _without_window(definition: Definition) -> Definition:
    """A clock that calls has spread its calls already, or was refused."""
    return dataclasses.replace(definition, bounds=dataclasses.replace(definition.bounds, window=dt.timedelta(0)))


def _before_last_due(definition: Definition, now: dt.datetime) -> dt.datetime:
    """An instant after which the last due time up to now is the first."""
    for span in _SPANS:
        if dues := definition.dues(now - span, now, limit=_MOST):
            return dues[-1].at - dt.timedelta(microseconds=1)
    return now
