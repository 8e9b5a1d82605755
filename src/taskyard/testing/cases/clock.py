"""Time as a test wants it: it stands still, and passes when the test says so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.db import connections
from django.db.models import Min
from django.utils import timezone

from taskyard.errors import TaskyardError
from taskyard.jobs.models import Job
from taskyard.jobs.states import State
from taskyard.sagas.models import Saga
from taskyard.schedules.models import Backfill, Schedule
from taskyard.schedules.scheduler import Scheduler
from taskyard.schedules.sources import code
from taskyard.schedules.sources.reconcile import Change
from taskyard.settings import get_settings
from taskyard.testing.cases.running import commit, run_jobs

#: What the scheduler bounds its transactions with; in a test case that transaction is the test's.
_BOUNDS_POSTGRES = ("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout")
_BOUND_MARIADB = "idle_transaction_timeout"


class Clock:
    """What ``django.utils.timezone.now()`` tells within a test: it stands still, and passes when it is told to.

    The scheduler is the real one, and so are the jobs it brings. Limits: code that reads another clock
    (``datetime.now()``, ``time.time()``, a ``now`` that was imported by name, the database's own) is not moved: for
    that travel with time-machine or freezegun, and call :func:`fire_due` there. A worker's own agents have the
    machine's clock.
    """

    def __init__(self, at: dt.datetime) -> None:
        self.now = at
        self._scheduler = Scheduler()

    def jump(self, to: dt.datetime | dt.timedelta) -> None:
        """Set the clock, to a moment or by a while, as if everything had stood still in between. Nothing is run."""
        self.now = self._moment(to)

    def travel(self, to: dt.datetime | dt.timedelta, *, run: bool = True) -> list[Job]:
        """Let time pass, to a moment or by a while; the jobs that ran, in order.

        Stops wherever something becomes due: schedules are decided about and jobs run (:func:`run_jobs`) at their own
        time, as with a worker that is always there; retries after their wait. With ``run=False`` jobs are enqueued and
        not run. Errors of tasks are raised, and the clock stays where it happened.
        """
        end = self._moment(to)
        if end < self.now:
            raise TaskyardError(f"Time does not pass backwards, from {self.now} to {end}: jump() there.")
        ran = self.fire(run=run)
        while (moment := _next(self.now, run=run)) is not None and moment <= end:
            self.now = moment
            ran += self.fire(run=run)
        self.now = end
        return ran

    def fire(self, *, run: bool = True) -> list[Job]:
        """:func:`fire_due` at the time of this clock."""
        return _fire(self._scheduler, run=run)

    def sync(self) -> list[Change]:
        """Make the schedules that stand in code rows, as ``taskyard schedules sync`` does; what was changed.

        Their first due time is the next one from now.
        """
        return code.sync(now=self.now)

    def _moment(self, to: dt.datetime | dt.timedelta) -> dt.datetime:
        moment = self.now + to if isinstance(to, dt.timedelta) else to
        if timezone.is_naive(moment):
            raise TaskyardError(f"{to!r} has no time zone: pass an aware datetime, or a timedelta.")
        return moment


@contextmanager
def clock(at: dt.datetime | None = None) -> Iterator[Clock]:
    """Within, time stands still: at ``at``, or at the moment of the call."""
    made = Clock(timezone.now() if at is None else at)
    with mock.patch.object(timezone, "now", lambda: made.now):
        yield made


def fire_due(*, run: bool = True) -> list[Job]:
    """Decide about the schedules that are due and run the jobs that are; the jobs that ran.

    Due is what ``django.utils.timezone.now()`` has come to, whoever moved it. What a schedule missed is decided by its
    catch-up, as by a scheduler that comes back. With ``run=False`` jobs are enqueued and not run.
    """
    return _fire(Scheduler(), run=run)


def _fire(scheduler: Scheduler, *, run: bool) -> list[Job]:
    commit()
    ran: list[Job] = []
    while True:
        decided = _decide(scheduler, timezone.now())
        done = run_jobs(retries=False) if run else []
        ran += done
        # The end of a job may let another due time of its schedule go.
        if not decided and not done:
            return ran


def _decide(scheduler: Scheduler, now: dt.datetime) -> int:
    decided = 0
    with _unbounded(get_settings().database):
        while done := scheduler.run_once(now):
            decided += done
    return decided


def _next(now: dt.datetime, *, run: bool) -> dt.datetime | None:
    """The next moment at which anything becomes due."""
    schedules, fills = Schedule.objects.filter(keeper="", next_at__gt=now), Backfill.objects.running()
    moments = [
        schedules.aggregate(at=Min("next_at"))["at"],
        fills.filter(next_at__gt=now).aggregate(at=Min("next_at"))["at"],
    ]
    if run:
        waiting = Job.objects.filter(state__in=[State.PENDING.value, State.RETRYING.value], available_at__gt=now)
        moments.append(waiting.aggregate(at=Min("available_at"))["at"])
        # Timers, retries of steps, time-outs of signals.
        moments.append(Saga.objects.filter(due_at__gt=now).aggregate(at=Min("due_at"))["at"])
    return min(filter(None, moments), default=None)


@contextmanager
def _unbounded(alias: str) -> Iterator[None]:
    connection: Any = connections[alias]
    if not connection.in_atomic_block or connection.vendor not in ("postgresql", "mysql"):
        yield
        return
    is_postgres = connection.vendor == "postgresql"
    if not is_postgres and not connection.mysql_is_mariadb:
        yield
        return
    with connection.cursor() as cursor:
        if is_postgres:
            cursor.execute(f"SELECT {', '.join(['current_setting(%s)'] * 3)}", _BOUNDS_POSTGRES)
        else:
            cursor.execute(f"SELECT @@SESSION.{_BOUND_MARIADB}")
        before = cursor.fetchone()
    yield
    with connection.cursor() as cursor:
        if is_postgres:
            pairs = [word for pair in zip(_BOUNDS_POSTGRES, before, strict=True) for word in pair]
            cursor.execute(f"SELECT {', '.join(['set_config(%s, %s, true)'] * 3)}", pairs)
        else:
            cursor.execute(f"SET SESSION {_BOUND_MARIADB} = %s", before)
