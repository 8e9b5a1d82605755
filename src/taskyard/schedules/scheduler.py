"""Decides about due times: advances each schedule and writes its decisions and jobs in one transaction.

Any number of schedulers may run. A schedule's row is locked while it is decided about, those that another scheduler has
in hand are passed over, and a due time has one row (``taskyard_occurrence_due``), whatever happens.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import DataError, Error, IntegrityError, OperationalError, ProgrammingError, connections, transaction
from django.db.models import Exists, OuterRef, Subquery

from taskyard.enqueue import control_alias
from taskyard.errors import TaskyardError, UnknownTask
from taskyard.jobs.models import Job
from taskyard.jobs.states import State
from taskyard.schedules import backfill, firing
from taskyard.schedules.decisions import MOST_AT_ONCE, ON_TIME, Decision, Verdict, decide
from taskyard.schedules.definitions.define import CHANGED
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.firing import Firing
from taskyard.schedules.models import Backfill, Occurrence, Schedule
from taskyard.schedules.recurrence import Due
from taskyard.schedules.sources.crontab.follow import Follower
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: Schedules of one transaction, and back-fills.
BATCH, FILLS = 200, 20
#: How often a scheduler looks that nobody can wake.
_DEAF = dt.timedelta(seconds=1)
_IN_HAND = dt.timedelta(milliseconds=100)
#: In milliseconds: between two statements, for one of them, and for a lock.
_BOUNDS_POSTGRES = (
    "SELECT set_config('idle_in_transaction_session_timeout', '5000', true),"
    " set_config('statement_timeout', '20000', true), set_config('lock_timeout', '5000', true)"
)
# In seconds, and for the session: the agent's connection is its own.
_BOUNDS_MARIADB = "SET SESSION idle_transaction_timeout = 5"
#: Errors of the database that one statement brings about, and another does not.
_ITS_OWN = (DataError, IntegrityError, ProgrammingError)
#: What a row may take along: the text of an error.
_LONGEST_ERROR = 2_000


class Scheduler:
    """One of any number; see :class:`~taskyard.runtime.loop.Agent`."""

    name = "scheduler"
    channels: Sequence[str] = (CHANGED,)

    def __init__(self, keeper: str = "") -> None:
        #: Whose schedules it decides about: nobody's, or those that are kept for it.
        self.keeper = keeper
        self._now = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._next_at: dt.datetime | None = None
        self._crontabs = Follower()

    def run_once(self, now: dt.datetime) -> int:
        """Decide about one batch of what is due; how many due times were decided."""
        # Before anything fires: a plugin may have been switched off.
        if not self.keeper:
            self._crontabs.follow(now)
        self._now, ahead = now, _look(self.keeper)
        done = release(now) if ahead.has_buffered else 0
        if _is_reached(ahead.due_at, now):
            done += decide_due(now, self.keeper)
        if _is_reached(ahead.fill_at, now):
            done += fill(now)
        self._next_at = (_look(self.keeper) if _is_reached(ahead.next_at, now) else ahead).next_at
        return done

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """On at once while there is more, else until the next due time; never long, for whoever cannot notify."""
        longest = min(_DEAF, get_settings().poll_interval) if is_deaf or done else get_settings().poll_interval
        if self._next_at is None:
            return longest
        if self._next_at <= self._now:
            # What is due and was not decided is in another one's hands.
            return dt.timedelta(0) if done else min(_IN_HAND, longest)
        return min(longest, self._next_at - self._now)

    def interrupted(self) -> None:
        """What was rolled back is decided again."""

    def stop(self) -> None:
        """Nothing to give back."""


@dataclasses.dataclass(slots=True)
class _Plan:
    """What is to be written about one schedule."""

    row: Schedule
    definition: Definition
    firings: list[Firing]


def decide_due(now: dt.datetime, keeper: str = "") -> int:
    """Decide about the most urgent schedules that nobody has in hand; how many due times were decided."""
    alias = control_alias()
    try:
        with _bounded(alias):
            return _decide(_taken(_upcoming(keeper).filter(next_at__lte=now).order_by("next_at")[:BATCH]), now)
    except Error:
        if not connections[alias].is_usable():
            raise
        # What one of them asks or writes: found alone, so that it stops no other.
        logger.exception("A batch of schedules could not be written; they are decided about one by one.")
    due = _upcoming(keeper).filter(next_at__lte=now).order_by("next_at")[:BATCH]
    return sum(_decide_alone(pk, now) for pk in list(due.values_list("pk", flat=True)))


@contextmanager
def _bounded(alias: str) -> Iterator[None]:
    """A transaction that a server ends by itself if its process stands still: it holds rows that others wait for."""
    connection = connections[alias]
    with transaction.atomic(using=alias):
        bounds = {"postgresql": _BOUNDS_POSTGRES, "mysql": _BOUNDS_MARIADB}.get(connection.vendor)
        if bounds and getattr(connection, "mysql_is_mariadb", True):
            with connection.cursor() as cursor:
                cursor.execute(bounds)
        yield


def _decide_alone(pk: int, now: dt.datetime) -> int:
    alias = control_alias()
    try:
        with _bounded(alias):
            return _decide(_taken(Schedule.objects.filter(pk=pk, next_at__lte=now)), now)
    except _ITS_OWN as error:
        with transaction.atomic(using=alias):
            for row in _taken(Schedule.objects.filter(pk=pk)):
                _park(row, error, due_at=row.next_at or now, now=now)
        return 1
    except OperationalError:
        if not connections[alias].is_usable():
            raise
        # A deadlock, or a column that is not there: SQLite and MySQL call both the same. It is tried again.
        logger.exception("Schedule %s could not be decided about.", pk)
        return 0


def decide_row(row: Schedule, now: dt.datetime) -> int:
    """Decide about a schedule whose row the caller has locked, in the caller's transaction; how many due times.

    As many as one turn decides: the row says how far that came.
    """
    return _decide([row], now)


def _decide(rows: list[Schedule], now: dt.datetime) -> int:
    plans: list[_Plan] = []
    parked = 0
    for row in rows:
        due_at = row.next_at or now
        try:
            plans.append(_planned(row, now))
        except UnknownTask as error:
            # While code is being rolled out others may know it.
            if now - due_at > ON_TIME:
                _park(row, error, due_at=due_at, now=now)
                parked += 1
        except Error:
            # The transaction is broken, or the database away: nothing can be written here.
            raise
        except Exception as error:
            # Whatever it is, it is this schedule's alone.
            _park(row, error, due_at=due_at, now=now)
            parked += 1
    _drop_decided(plans)
    decided = firing.write([f for plan in plans for f in plan.firings], now)
    for plan in plans:
        _count(plan)
    _advance([plan.row for plan in plans])
    return decided + parked


def _planned(row: Schedule, now: dt.datetime) -> _Plan:
    definition = Definition.of(row)
    offset = definition.offset(row.tenant, row.name)
    dues = definition.dues(row.decided_until, now - offset, limit=MOST_AT_ONCE + 1)
    is_cut = len(dues) > MOST_AT_ONCE
    shifted = [due._replace(at=due.at + offset) for due in dues[:MOST_AT_ONCE]]
    verdicts, rest = decide(shifted, definition.rules, now=now, is_cut=is_cut)
    verdicts = [_ruled_out(row, definition, verdict, offset) or verdict for verdict in verdicts]
    if definition.pause_after_failures and any(v.decision == Decision.FIRED for v in verdicts):
        verdicts = _unless_failing(row, definition, verdicts, now)
    allowed = _within_runs(row, definition, verdicts)
    if allowed:
        row.decided_until = allowed[-1].due.at - offset
    if not is_cut and not rest and len(allowed) == len(verdicts):
        row.decided_until = max(row.decided_until, now - offset)
    return _Plan(row, definition, [
        firing.plan(row, definition, verdict=verdict, offset=offset, now=now) for verdict in allowed
    ])  # fmt: skip


def _ruled_out(row: Schedule, definition: Definition, verdict: Verdict, offset: dt.timedelta) -> Verdict | None:
    """Its calendar or a pause is in the way."""
    due = verdict.due
    if reason := definition.bounds.excluded(due._replace(at=due.at - offset)):
        return Verdict(due, Decision.SUPPRESSED, reason)
    if not row.is_paused(due.at):
        return None
    return Verdict(due, Decision.SUPPRESSED, f"paused: {row.pause_reason}" if row.pause_reason else "paused")


def _unless_failing(row: Schedule, definition: Definition, verdicts: list[Verdict], now: dt.datetime) -> list[Verdict]:
    limit = definition.pause_after_failures or 0
    # Whoever changed or resumed it wants to see it try again.
    since = row.updated_at
    fired = Occurrence.objects.filter(schedule=row, job__isnull=False, decided_at__gte=since)
    last = list(fired.order_by("-due_at").values_list("job", flat=True)[:limit])
    if len(last) < limit or Job.objects.filter(id__in=last, state=State.FAILED.value).count() < limit:
        return verdicts
    row.paused_at, row.paused_until, row.paused_by = now, None, "taskyard"
    row.pause_reason = f"{limit} jobs in a row failed" if limit > 1 else "a job failed"
    return [
        Verdict(v.due, Decision.SUPPRESSED, f"paused: {row.pause_reason}") if v.decision == Decision.FIRED else v
        for v in verdicts
    ]


def _within_runs(row: Schedule, definition: Definition, verdicts: list[Verdict]) -> list[Verdict]:
    """Those up to the last run that is allowed, if all that are to fire do."""
    runs = row.runs
    for number, verdict in enumerate(verdicts):
        runs += verdict.decision == Decision.FIRED
        if definition.bounds.is_spent(runs):
            return verdicts[: number + 1]
    return verdicts


def _count(plan: _Plan) -> None:
    """What really ran, and when it is due next."""
    row, definition = plan.row, plan.definition
    ran = [f.occurrence for f in plan.firings if f.occurrence.decision in (Decision.FIRED, Decision.BUFFERED)]
    if ran:
        row.runs, row.last_at = row.runs + len(ran), ran[-1].effective_at
    is_over = row.is_triggered or definition.bounds.is_spent(row.runs)
    due = None if is_over else definition.next_due(row.decided_until)
    row.next_at = None if due is None else due.at + definition.offset(row.tenant, row.name)


def _park(row: Schedule, error: Exception, *, due_at: dt.datetime, now: dt.datetime) -> None:
    """Nothing more of it until somebody mends it; the due time it broke at is recorded."""
    text = str(error) if isinstance(error, TaskyardError) else f"{type(error).__name__}: {error}"
    logger.error("Schedule %r is parked: %s", str(row), text)
    Schedule.objects.filter(pk=row.pk).update(next_at=None, error=text[:_LONGEST_ERROR], updated_at=now)
    said: dict[str, Any] = {
        "effective_at": due_at,
        "decided_at": now,
        "decision": Decision.ERRORED.value,
        "reason": text[:500],
    }
    said["version"] = row.version
    Occurrence.objects.get_or_create(schedule=row, due_at=due_at, tenant=row.tenant, defaults=said)


def _drop_decided(plans: list[_Plan]) -> None:
    """Leave out what is decided already, after a clock or a definition stepped back."""
    due = {f.occurrence.due_at for plan in plans for f in plan.firings}
    known = Occurrence.objects.decided([plan.row.pk for plan in plans], due) if due else set()
    for plan in plans if known else ():
        plan.firings = [f for f in plan.firings if (plan.row.pk, f.occurrence.tenant, f.occurrence.due_at) not in known]


_MOVED = ("next_at", "decided_until", "runs", "last_at")
_HELD = ("paused_at", "paused_until", "paused_by", "pause_reason")


def _advance(rows: Sequence[Schedule]) -> None:
    if not rows:
        return
    connection = connections[control_alias()]
    names = (*_MOVED, *(_HELD if any(row.paused_at for row in rows) else ()))
    fields: list[Any] = [Schedule._meta.get_field(name) for name in names]
    table = connection.ops.quote_name(Schedule._meta.db_table)
    values = [
        (*(field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields), row.pk) for row in rows
    ]
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            assignments = ", ".join(f"{connection.ops.quote_name(field.column)} = %s" for field in fields)
            cursor.executemany(f"UPDATE {table} SET {assignments} WHERE id = %s", values)
            return
        # One statement is parsed and planned once.
        assignments = ", ".join(f"{f.column} = CAST(v.{f.column} AS {f.cast_db_type(connection)})" for f in fields)
        marks = ", ".join([f"({', '.join(['%s'] * (len(fields) + 1))})"] * len(rows))
        columns = ", ".join(f.column for f in fields)
        cursor.execute(
            f"UPDATE {table} SET {assignments} FROM (VALUES {marks}) AS v ({columns}, id) WHERE {table}.id = v.id",
            [value for row in values for value in row],
        )


def release(now: dt.datetime) -> int:
    """Fire what was buffered and is no longer in the way of anything; how many."""
    holder = Job.objects.filter(unique_lock=OuterRef("lock"))
    with _bounded(control_alias()):
        free = Occurrence.objects.buffered().filter(~Exists(holder)).order_by("id")[:BATCH]
        first: dict[str, Occurrence] = {}
        for occurrence in _taken(free):
            first.setdefault(occurrence.lock or "", occurrence)
        return firing.fire_buffered(list(first.values()), now) if first else 0


def run_now(row: Schedule, *, by: Any = "", now: dt.datetime | None = None) -> Occurrence:
    """See :meth:`Schedule.run_now`."""
    from django.utils import timezone
    from django.utils.module_loading import autodiscover_modules

    from taskyard.schedules.definitions.define import text_of

    # Whoever asks (a command, a web process) may have imported no task yet.
    autodiscover_modules("schedules", "tasks")
    now = now or timezone.now()
    with transaction.atomic(using=control_alias()):
        locked = Schedule.objects.select_for_update().get(pk=row.pk)
        verdict = Verdict(Due(at=now, nominal=now.replace(tzinfo=None), mark=""), Decision.FIRED, "asked for")
        fire = firing.plan(locked, Definition.of(locked), verdict=verdict, offset=dt.timedelta(0), now=now)
        fire.occurrence.actor = text_of(by)
        firing.write([fire], now)
        if fire.occurrence.decision == Decision.FIRED.value:
            Schedule.objects.filter(pk=row.pk).update(last_at=now)
    return fire.occurrence


def fill(now: dt.datetime) -> int:
    """Let back-fills go on that nobody has in hand; how many due times they have seen to."""
    with _bounded(control_alias()):
        rows = _taken(Backfill.objects.running().filter(next_at__lte=now).order_by("next_at")[:FILLS])
        # As whoever decides about it does: so one due time is decided by one of the two.
        schedules = {row.pk: row for row in _taken(Schedule.objects.filter(pk__in={row.schedule_id for row in rows}))}
        return sum(backfill.step(row, schedules[row.schedule_id], now) for row in rows if row.schedule_id in schedules)


class _Ahead(NamedTuple):
    """What there is to do, and when."""

    due_at: dt.datetime | None
    #: Whether something waits for a job to end.
    has_buffered: bool
    #: When the next back-fill goes on.
    fill_at: dt.datetime | None

    @property
    def next_at(self) -> dt.datetime | None:
        """When there is anything to do."""
        return min(filter(None, (self.due_at, self.fill_at)), default=None)


def _look(keeper: str) -> _Ahead:
    """One short question, where anything is due at all."""
    buffered, fills = Occurrence.objects.buffered(), Backfill.objects.running().order_by("next_at").values("next_at")
    found = (
        _upcoming(keeper)
        .annotate(waiting=Exists(buffered), fill_at=Subquery(fills[:1]))
        .order_by("next_at")
        .values_list("next_at", "waiting", "fill_at")
        .first()
    )
    if found is not None:
        return _Ahead(*found)
    return _Ahead(None, buffered.exists(), fills.values_list("next_at", flat=True).first())


def _is_reached(moment: dt.datetime | None, now: dt.datetime) -> bool:
    return moment is not None and moment <= now


def _upcoming(keeper: str) -> Any:
    return Schedule.objects.filter(keeper=keeper, next_at__isnull=False)


def _taken(query: Any) -> list[Any]:
    """Lock these, but for those that another scheduler has in hand."""
    features = connections[control_alias()].features
    return list(query.select_for_update(skip_locked=features.has_select_for_update_skip_locked))
