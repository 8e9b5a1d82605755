"""Due times of the past that are run after all: each once, a few at a time, by the definition that was valid then.

A back-fill is a row that says how far it has come. Any scheduler takes it a step further, with the schedule's row
locked as when due times are decided, and the decisions, their jobs and the new place are one transaction: so a
scheduler that is killed leaves it where it was, and no due time is run twice.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from taskyard.enqueue import control_alias, resolve_queue
from taskyard.errors import InvalidSchedule
from taskyard.jobs.models import Job
from taskyard.jobs.rows.newjob import is_tenant_name
from taskyard.jobs.states import LANE_DUE, LANE_LATER, LANE_OUT
from taskyard.runtime.wakeup import wake
from taskyard.schedules import firing
from taskyard.schedules.decisions import Decision, Overlap, Verdict
from taskyard.schedules.definitions.changes import CHANGED
from taskyard.schedules.definitions.define import text_of
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.models import Backfill, Occurrence, Schedule, ScheduleVersion
from taskyard.schedules.recurrence import Due
from taskyard.settings import get_settings

#: The queue of its jobs, unless another is named.
QUEUE = "backfill"
#: Due times that one step looks at, and that it runs at most.
LOOKED_AT, MOST_RUN = 500, 100
#: Those that ran, or are about to: they are not run again.
_RAN = (Decision.FIRED.value, Decision.BUFFERED.value)
_INSTANT, _SECOND, _MINUTE = dt.timedelta(microseconds=1), dt.timedelta(seconds=1), dt.timedelta(minutes=1)
_AFTER_ERROR = dt.timedelta(seconds=30)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants back-filled; both ends belong to it."""

    since: dt.datetime
    #: None: up to now.
    until: dt.datetime | None = None
    #: The one of several tenants it is for.
    tenant: str = ""
    queue: str = QUEUE
    per_minute: float = 60.0
    #: Also what was due so long ago that nobody knows whether it ran.
    forgotten: bool = False


class Outlook(NamedTuple):
    """What a back-fill would do, in due times."""

    to_run: int
    ran_before: int
    ruled_out: int


def start(schedule: Schedule, wish: Wish, *, by: object = "", now: dt.datetime | None = None) -> Backfill:
    """Write a back-fill in the caller's transaction; schedulers feed it after the commit.

    Raises :class:`~taskyard.errors.InvalidSchedule` with all that is wrong, and
    :class:`~taskyard.errors.UnknownQueue`.
    """
    now = now or timezone.now()
    row = _new_row(schedule, wish, now)
    row.created_by = text_of(by)
    row.save(using=control_alias())
    transaction.on_commit(lambda: wake(CHANGED), using=control_alias())
    return row


def look_ahead(schedule: Schedule, wish: Wish, *, now: dt.datetime | None = None) -> Outlook:
    """What :func:`start` would lead to as things stand, in flat memory; raises as that does."""
    row = _new_row(schedule, wish, now or timezone.now())
    counts = dict.fromkeys(_Case, 0)
    while row.state == "running":
        piece = _next_piece(row, schedule)
        for judged in _judged(piece):
            counts[judged.case] += 1
        _move_on(row, piece)
    return Outlook(*counts.values())


def cancel(row: Backfill, *, by: object = "") -> bool:
    """See :meth:`Backfill.cancel`."""
    values = {"state": "cancelled", "next_at": None, "ended_at": timezone.now(), "ended_by": text_of(by)}
    is_ended = bool(Backfill.objects.running().filter(pk=row.pk).update(**values))
    row.refresh_from_db()
    return is_ended


def _new_row(schedule: Schedule, wish: Wish, now: dt.datetime) -> Backfill:
    problems = list(_problems(schedule, wish, now))
    if problems:
        raise InvalidSchedule(schedule.name, problems)
    return Backfill(
        schedule=schedule, tenant="" if wish.tenant == schedule.tenant else wish.tenant,
        queue=resolve_queue(wish.queue, schedule.task), per_minute=wish.per_minute, since=wish.since,
        until=wish.until or now, done_until=wish.since - _INSTANT, next_at=now, created_at=now,
    )  # fmt: skip


def _problems(schedule: Schedule, wish: Wish, now: dt.datetime) -> Iterator[str]:
    until = wish.until or now
    if wish.since.tzinfo is None or until.tzinfo is None:
        yield "since and until must have a time zone."
        return
    if not wish.since <= until <= now:
        yield f"a back-fill goes from one time to a later one, none of them to come; not from {wish.since} to {until}."
    if not (isinstance(wish.per_minute, (int, float)) and math.isfinite(wish.per_minute) and wish.per_minute > 0):
        yield f"per_minute must be a number above zero; it is {wish.per_minute!r}."
    if not schedule.versions.exists():
        yield "none of its definitions is on record: define it again."
    kept_since = now - get_settings().occurrence_retention
    if not wish.forgotten and max(wish.since, schedule.created_at) < min(until, kept_since):
        yield (
            f"decisions before {kept_since:%Y-%m-%d %H:%M} are deleted (OCCURRENCE_RETENTION), and what ran then would "
            "run again: begin later, or say forgotten=True (--forgotten)."
        )
    if wish.tenant and wish.tenant != schedule.tenant:
        if schedule.tenants is None or not is_tenant_name(wish.tenant):
            yield f"it does not run for several tenants, and not for {wish.tenant!r}."
        elif schedule.tenants != "each" and wish.tenant not in schedule.tenants:
            yield f"it does not run for tenant {wish.tenant!r}."


class _Piece(NamedTuple):
    """Due times in a row that one version of the definition decides about."""

    #: The schedule as it was then, with the queue of the back-fill and maybe for one tenant alone.
    schedule: Schedule
    definition: Definition
    #: The queue of its jobs that are no back-fill's: a task of Celery's may be known by it alone.
    own_queue: str
    dues: Sequence[Due]
    #: Due times up to here are in it; those before the next version, where it has no more.
    reaches: dt.datetime
    is_last: bool


def _next_piece(row: Backfill, schedule: Schedule) -> _Piece:
    start = row.done_until + _INSTANT
    versions = ScheduleVersion.objects.using(control_alias()).filter(schedule=schedule)
    # Before there was any: as it was first said.
    valid = versions.filter(since__lte=start).order_by("-version").first() or versions.order_by("version")[0]
    following = versions.filter(since__gt=start, version__gt=valid.version).order_by("version").first()
    until = row.until if following is None else min(row.until, following.since - _INSTANT)
    then = Schedule(
        pk=schedule.pk, name=schedule.name, tenant=row.tenant or schedule.tenant, created_by=schedule.created_by,
        version=valid.version, **{**valid.definition, "queue": row.queue},
    )  # fmt: skip
    if row.tenant:
        then.tenants = None
    definition = Definition.of(then)
    dues = definition.dues(row.done_until, until, limit=LOOKED_AT)
    is_cut = len(dues) == LOOKED_AT
    own_queue = valid.definition.get("queue", "")
    return _Piece(
        then, definition, own_queue, dues, dues[-1].at if is_cut else until, not is_cut and until == row.until
    )


def _move_on(row: Backfill, piece: _Piece) -> None:
    row.done_until = piece.reaches
    if piece.is_last:
        row.state, row.next_at = "done", None


class _Case(Enum):
    """What is to be done about one due time; in the order of :class:`Outlook`."""

    RUN = 0
    RAN_BEFORE = 1
    RULED_OUT = 2


class _Judged(NamedTuple):
    due: Due
    case: _Case
    #: What was decided before, where that was not to run it.
    before: Occurrence | None


def _judged(piece: _Piece) -> Iterator[_Judged]:
    """Its due times one by one; asks only once what was decided about them."""
    then = piece.schedule
    decided = Occurrence.objects.filter(schedule=then.pk, due_at__in=[due.at for due in piece.dues])
    known = {(each.due_at, each.tenant): each for each in decided.filter(tenant__in={"", then.tenant})}
    for due in piece.dues:
        own, whole = known.get((due.at, then.tenant)), known.get((due.at, ""))
        before = own or whole
        if before is not None and before.decision in _RAN:
            yield _Judged(due, _Case.RAN_BEFORE, None)
        elif piece.definition.bounds.excluded(due):
            yield _Judged(due, _Case.RULED_OUT, None)
        else:
            yield _Judged(due, _Case.RUN, own)


def step(row: Backfill, schedule: Schedule, now: dt.datetime) -> int:
    """Go on with a back-fill whose row and schedule are locked, in the caller's transaction; how many due times."""
    try:
        with transaction.atomic(using=control_alias()):
            done = 0 if _waits(row, now) else _feed(row, schedule, now)
            row.error = ""
    except (OperationalError, InterfaceError):
        # The database is away, or another transaction is in the way: nothing can be written here.
        raise
    except Exception as error:
        row.refresh_from_db()
        row.error, row.next_at, done = f"{type(error).__name__}: {error}"[:500], now + _AFTER_ERROR, 0
    row.save(using=control_alias())
    return done


def _waits(row: Backfill, now: dt.datetime) -> bool:
    """Whether jobs of its last due time have not ended, and must have."""
    if row.waits_for is None:
        return False
    last = Occurrence.objects.filter(pk=row.waits_for).first()
    if last is not None and _has_unfinished(last, row.queue):
        row.next_at = now + _SECOND
        return True
    row.waits_for = None
    return False


def _has_unfinished(occurrence: Occurrence, queue: str) -> bool:
    if occurrence.job is not None:
        return Job.objects.active().filter(id=occurrence.job).exists()
    # Lane by lane, as the indexes have it.
    jobs = Job.objects.filter(queue=queue, occurrence=occurrence.pk)
    return any(jobs.filter(lane=lane).exists() for lane in (LANE_DUE, LANE_OUT, LANE_LATER))


def _feed(row: Backfill, schedule: Schedule, now: dt.datetime) -> int:
    piece = _next_piece(row, schedule)
    is_single = piece.definition.overlap != Overlap.ALLOW or piece.definition.tenants is not None
    room = 1 if is_single else min(MOST_RUN, max(1, math.ceil(row.per_minute * _SECOND / _MINUTE)))
    seen = ran = 0
    for due, case, before in _judged(piece):
        if case == _Case.RUN:
            if ran == room or not _run(row, piece, now, due=due, before=before):
                break
            ran += 1
        else:
            row.left_alone += 1
        seen += 1
        row.done_until = due.at
    if seen == len(piece.dues):
        _move_on(row, piece)
    if row.state == "done":
        row.ended_at = now
    else:
        # At once, where nothing ran; where something is in the way, in a while.
        is_held = not seen and bool(piece.dues)
        row.next_at = now + max(ran * _MINUTE / row.per_minute, _SECOND if is_held else dt.timedelta(0))
    return seen


def _run(row: Backfill, piece: _Piece, now: dt.datetime, *, due: Due, before: Occurrence | None) -> bool:
    """Write one decision and its jobs; False, and nothing written, if a job with the task's own key is in the way."""
    firing.refuse_unknown(piece.schedule, dataclasses.replace(piece.definition, queue=piece.own_queue), now)
    definition = dataclasses.replace(piece.definition, overlap=Overlap.ALLOW)
    words = f"back-filled; was {before.decision}: {before.reason}".rstrip(": ") if before else "back-filled"
    verdict = Verdict(due, Decision.FIRED, words[:500])
    fire = firing.plan(piece.schedule, definition, verdict=verdict, offset=dt.timedelta(0), now=now)
    occurrence = fire.occurrence
    occurrence.effective_at, occurrence.actor = now, row.created_by
    with transaction.atomic(using=control_alias()):
        if before is not None:
            before.delete(using=control_alias())
        firing.write([fire], now)
        if occurrence.decision == Decision.SKIPPED.value:
            transaction.set_rollback(True, using=control_alias())
            return False
    row.fired += occurrence.decision == Decision.FIRED.value
    row.jobs += 1 if occurrence.job else occurrence.jobs
    row.waits_for = occurrence.pk if piece.definition.overlap != Overlap.ALLOW else None
    return True
