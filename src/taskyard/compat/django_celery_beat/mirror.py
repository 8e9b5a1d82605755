"""Keeps a row of ours for each ``PeriodicTask``, so that the engine finds by an index what is due."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from taskyard.compat.django_celery_beat.reading import SUBJECT, Said, read
from taskyard.enqueue import control_alias
from taskyard.schedules.decisions import Decision
from taskyard.schedules.models import Occurrence, Schedule

logger = logging.getLogger(__name__)

#: Rows of theirs that are looked at in one turn.
CHUNK = 1_000
#: How often all of them are, also where nothing says that one has changed: bulk updates tell nobody.
LOOK_AGAIN = dt.timedelta(minutes=5)
#: Clocks of web servers may differ by so much.
_SKEW = dt.timedelta(seconds=10)
#: What an edit changes; what a run changes is not among them.
_OWN = (
    "name", "task", "args", "kwargs", "queue", "exchange", "routing_key", "headers", "priority", "expires",
    "expire_seconds", "one_off", "start_time", "enabled", "description", "interval_id", "crontab_id", "solar_id",
    "clocked_id",
)  # fmt: skip
_OF_TIMES = (
    "interval__every", "interval__period", "crontab__minute", "crontab__hour", "crontab__day_of_week",
    "crontab__day_of_month", "crontab__month_of_year", "crontab__timezone", "solar__event", "solar__latitude",
    "solar__longitude", "clocked__clocked_time",
)  # fmt: skip
_SOLAR = 1 + _OWN.index("solar_id")
#: Where a row of theirs says when.
TIMES = ("interval", "crontab", "solar", "clocked")


class Mirror:
    """The rows of one table of theirs; several may keep the same one, each finds what another did.

    A change is seen by their own stamp (``PeriodicTasks``): rows that were saved since are read at once, and all of
    them are compared bit by bit, in turns of :data:`CHUNK`, because a schedule that several rows share, a bulk update
    or a deletion leaves no trace in the rows.
    """

    def __init__(self, model: Any, *, keeper: str, tenant: str = "") -> None:
        self.model, self.keeper, self.tenant = model, keeper, tenant
        self._marks: dict[Any, int] = {}
        self._stamp: Any = None
        #: The last key that the comparison under way has seen; None: none is under way.
        self._place: Any = None
        self._seen: set[Any] = set()
        self._began_at: dt.datetime | None = None
        self._is_stale = True

    def wants(self, stamp: Any, now: dt.datetime) -> bool:
        """Whether there is something to look at: ``stamp`` is what their table of changes says."""
        is_quiet = self._place is None and not self._is_stale and stamp == self._stamp
        return not is_quiet or self._began_at is None or now - self._began_at >= LOOK_AGAIN

    def keep(self, stamp: Any, now: dt.datetime) -> bool:
        """Go on keeping the rows in step; whether there is more to do at once."""
        self._notice(stamp, now)
        if self._place is None and self._is_stale:
            self._begin(now)
        if self._place is not None:
            self._compare(now)
        return self._place is not None or self._is_stale

    def _notice(self, stamp: Any, now: dt.datetime) -> None:
        before, self._stamp = self._stamp, stamp
        if before is not None and stamp is not None and stamp != before:
            self._mirror(self._whole().filter(date_changed__gte=before - _SKEW)[:CHUNK], now)
        if stamp != before or self._began_at is None or now - self._began_at >= LOOK_AGAIN:
            self._is_stale = True

    def _begin(self, now: dt.datetime) -> None:
        self._is_stale, self._began_at, self._place, self._seen = False, now, 0, set()
        # As Beat does when it comes across one, and without a save: that would send everybody looking.
        enabled = self.model.objects.filter(enabled=True)
        enabled.filter(one_off=True, total_run_count__gt=0).update(enabled=False, total_run_count=0, last_run_at=None)
        enabled.filter(expires__lte=now).update(enabled=False, last_run_at=None)

    def _compare(self, now: dt.datetime) -> None:
        rows = self.model.objects.filter(pk__gt=self._place).order_by("pk")
        found = list(rows.values_list("pk", *_OWN, *_OF_TIMES)[:CHUNK])
        marks = {row[0]: hash(row) for row in found}
        # The sun has no recurrence: its next time is read again and again.
        sunny = {row[0] for row in found if row[_SOLAR] is not None}
        changed = [pk for pk, mark in marks.items() if self._marks.get(pk) != mark or pk in sunny]
        if changed:
            self._mirror(self._whole().filter(pk__in=changed), now)
        self._marks.update(marks)
        self._seen.update(marks)
        if len(found) < CHUNK:
            self._place = None
            self._forget_the_gone()
        else:
            self._place = found[-1][0]

    def _whole(self) -> Any:
        return self.model.objects.select_related(*TIMES).order_by("pk")

    def _kept(self) -> Any:
        return Schedule.objects.filter(keeper=self.keeper, tenant=self.tenant, subject_type=SUBJECT)

    def _forget_the_gone(self) -> None:
        gone = [pk for pk, of in self._kept().values_list("pk", "subject_id") if int(of) not in self._seen]
        Schedule.objects.filter(pk__in=gone).delete()
        self._marks = {pk: mark for pk, mark in self._marks.items() if pk in self._seen}

    def _mirror(self, tasks: Iterable[Any], now: dt.datetime) -> None:
        tasks = list(tasks)
        known = {row.subject_id: row for row in self._kept().filter(subject_id__in=[str(task.pk) for task in tasks])}
        new = [task for task in tasks if str(task.pk) not in known]
        self._add(new, now)
        for task in tasks:
            if str(task.pk) in known:
                self._change(known[str(task.pk)].pk, task, now)

    def _add(self, tasks: Sequence[Any], now: dt.datetime) -> None:
        rows = [self._row(task, read(task, now=now), now) for task in tasks]
        try:
            with transaction.atomic(using=control_alias()):
                Schedule.objects.bulk_create(rows)
        except IntegrityError:
            # Another one adds them too, or a name is taken.
            for row in rows:
                self._add_alone(row)

    def _add_alone(self, row: Schedule) -> None:
        for name in (row.name, f"{row.name[:150]} (django-celery-beat {row.subject_id})"):
            row.pk, row.name = None, name
            try:
                with transaction.atomic(using=control_alias()):
                    row.save(using=control_alias(), force_insert=True)
                return
            except IntegrityError:
                if self._kept().filter(subject_id=row.subject_id).exists():
                    return
        logger.error("Periodic task %r does not run: its name is taken.", row.name)

    def _row(self, task: Any, said: Said, now: dt.datetime) -> Schedule:
        row = Schedule(
            tenant=self.tenant, origin=self.keeper, keeper=self.keeper, created_by=self.keeper, created_at=now,
            decided_until=said.since, last_at=task.last_run_at, version=0,
        )  # fmt: skip
        _say(row, task, said, now)
        _aim(row, said, said.since)
        return row

    def _change(self, pk: int, task: Any, now: dt.datetime) -> None:
        try:
            with transaction.atomic(using=control_alias()):
                row = Schedule.objects.select_for_update().filter(pk=pk).first()
                said = read(task, now=now, before=row.recurrence if row else None)
                if row is None or not _differs(row, task, said):
                    return
                was = (row.enabled, row.error, row.recurrence, row.bounds)
                _say(row, task, said, now)
                if was != (row.enabled, row.error, row.recurrence, row.bounds):
                    # What was due before is not run, but for a time that is said once and for all.
                    is_once = said.definition is not None and said.definition.recurrence.kind == "at"
                    _aim(row, said, said.since if is_once else max(now, row.decided_until))
                row.save(using=control_alias())
        except IntegrityError:
            logger.exception("Periodic task %r runs as it was before: its new name is taken.", task.name)


def _say(row: Schedule, task: Any, said: Said, now: dt.datetime) -> None:
    row.name, row.enabled, row.updated_at = task.name, task.enabled, now
    row.version += 1
    row.error = said.problem if task.enabled else ""
    row.runs = task.total_run_count if task.one_off else max(row.runs, task.total_run_count)
    row.subject_type, row.subject_id = SUBJECT, str(task.pk)
    if said.definition is None:
        row.task, row.recurrence = task.task, row.recurrence or {}
        return
    for column, value in said.definition.as_columns().items():
        setattr(row, column, value)


def _aim(row: Schedule, said: Said, since: dt.datetime) -> None:
    """Let the first due time after ``since`` be the next."""
    row.decided_until, definition = since, said.definition
    is_over = definition is None or definition.bounds.is_spent(row.runs)
    due = None if is_over or definition is None or not row.enabled else definition.next_due(since)
    row.next_at = None if due is None else due.at


def _differs(row: Schedule, task: Any, said: Said) -> bool:
    if (row.name, row.enabled, row.error) != (task.name, task.enabled, said.problem if task.enabled else ""):
        return True
    columns = {} if said.definition is None else said.definition.as_columns()
    return any(getattr(row, name) != value for name, value in columns.items())


def fired_at(keeper: str, decided_at: dt.datetime) -> Iterable[Schedule]:
    """What was fired in the turn of that instant."""
    fired = Occurrence.objects.all().filter(
        decided_at=decided_at, decision=Decision.FIRED.value, schedule__keeper=keeper
    )
    return Schedule.objects.filter(pk__in=set(fired.values_list("schedule_id", flat=True)))


def write_back(model: Any, row: Schedule) -> None:
    """Tell their row when it was fired last, and how often in all.

    Whole values, so that it may be done twice; if it is not done, the next run makes up for it.
    """
    # No save: their stamp would move, and every Beat look at everything.
    model.objects.filter(pk=row.subject_id).update(last_run_at=row.last_at, total_run_count=row.runs)
